/* What every page does: what is larger than its place says so, and scrolls by keyboard; on a phone tables of
   text stand as cards; figures grow on a click. */
(() => {
  "use strict";

  const article = document.querySelector(".bd-article");
  if (!article) return;

  // -- tables of text: on a phone each row is a card, and each of its cells has its column's name
  const LONG = 48; // letters that make a cell a text
  const MOST = 6; // columns that fit a card

  /** The names over each column; a name may span several. */
  function columnNames(table) {
    const names = [];
    for (const row of table.tHead?.rows ?? []) {
      let column = 0;
      for (const cell of row.cells) {
        const text = cell.textContent.trim();
        for (const last = column + cell.colSpan; column < last; column += 1) {
          names[column] = [names[column], text].filter(Boolean).join(", ");
        }
      }
    }
    return names;
  }

  const NUMBER = /^(|–|nan|0 exactly|[+−–-]?[\d.,]+(e[+-]\d+)?(\s±\s[\d.]+)?(\s%)?(\s[[(].+[\])])?)$/i;

  /** Mark the columns of numbers, counted from the right: names at the left may span rows. */
  function markNumbers(table) {
    const rows = [...table.rows].filter((row) => [...row.cells].every((cell) => cell.colSpan === 1));
    const body = rows.filter((row) => row.parentNode === table.tBodies[0]);
    const least = Math.min(...body.map((row) => row.querySelectorAll("td").length));
    for (let i = 1; i <= least; i += 1) {
      const column = (some) => some.map((row) => row.cells[row.cells.length - i]);
      const numbers = column(body).every((cell) => NUMBER.test(cell.textContent.trim()));
      if (numbers) column(rows).forEach((cell) => cell.classList.add("of-numbers"));
    }
  }

  const tables = [...article.querySelectorAll("table")].filter((table) => !table.closest(".live-wall"));
  for (const table of tables) {
    if (table.tBodies.length) markNumbers(table);
    const names = columnNames(table);
    const cells = [...table.querySelectorAll("tbody td")];
    if (names.length > MOST || !cells.some((cell) => cell.textContent.trim().length > LONG)) continue;
    table.classList.add("of-text");
    // What is laid out as a block is a table no more to some who hear it, unless it says so.
    table.setAttribute("role", "table");
    for (const [kind, role] of [["thead, tbody", "rowgroup"], ["tr", "row"], ["thead th", "columnheader"],
      ["tbody th", "rowheader"], ["td", "cell"]]) {
      table.querySelectorAll(kind).forEach((node) => node.setAttribute("role", role));
    }
    for (const row of table.tBodies[0].rows) {
      const first = names.length - row.cells.length; // cells that span rows stand in the first of them
      [...row.cells].forEach((cell, i) => {
        if (first + i > 0) cell.dataset.column = names[first + i];
      });
    }
  }

  // -- output that a program has laid out in columns keeps its lines; other lines are folded
  const COLUMNS = /\S {2,}\S|[\u2500-\u257f]/;
  for (const output of article.querySelectorAll(".cell_output pre")) {
    const laid = output.textContent.split("\n").filter((line) => COLUMNS.test(line));
    output.classList.toggle("laid-out", laid.length > 1);
  }

  // -- what is larger than its place
  const kinds = [
    [".pst-scrollable-table-container, .text_html:has(> table, > div > table)", "Table"],
    [".cell_output pre, .tag_output_scroll .cell_output", "Output"],
    ["div.highlight:not(.cell_output *) pre", "Code"],
    ["div.math mjx-container", "Formula"],
  ];

  /** Keep a row's name in sight while its numbers scroll. */
  function stick(box) {
    const names = box.querySelectorAll("tbody tr > :is(th, td:first-child), thead th");
    names.forEach((cell) => cell.classList.remove("stuck"));
    const first = box.querySelector("tbody td:not(:first-child)");
    if (!first || box.scrollWidth <= box.clientWidth) return;
    const stuck = [...names].filter((cell) => {
      const right = cell.offsetLeft + cell.offsetWidth;
      return cell.offsetLeft < first.offsetLeft && right <= 0.62 * box.clientWidth;
    });
    stuck.map((cell) => [cell, cell.offsetLeft]).forEach(([cell, left]) => {
      cell.style.left = `${left}px`;
      cell.classList.add("stuck");
    });
  }

  /** Say that there is more at the right or below, and let the keyboard reach it. */
  function tell(box) {
    const { overflowX, overflowY } = getComputedStyle(box);
    const right = overflowX === "auto" ? box.scrollWidth - box.clientWidth : 0;
    const below = overflowY === "auto" ? box.scrollHeight - box.clientHeight : 0;
    box.classList.toggle("larger", right > 1 || below > 1);
    box.classList.toggle("more-right", box.scrollLeft < right - 1);
    box.classList.toggle("more-below", box.scrollTop < below - 1);
    if (right > 1 || below > 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", box.dataset.called);
    } else {
      const set = box.matches("mjx-container") ? [] : ["tabindex"]; // MathJax has a menu there
      for (const name of ["role", "aria-label", ...set]) box.removeAttribute(name);
    }
  }

  const reach = new ResizeObserver((boxes) => {
    if (matchMedia("print").matches) return;
    for (const { target } of boxes) {
      target.style.setProperty("--needs", target.scrollWidth); // pixels, for who prints it
      stick(target);
      tell(target);
    }
  });
  function watch() {
    for (const [where, kind] of kinds) {
      article.querySelectorAll(where).forEach((box, i) => {
        if (box.dataset.called) return;
        box.dataset.called = `${kind} ${i + 1} of this page, larger than its place`;
        box.addEventListener("scroll", () => tell(box), { passive: true });
        reach.observe(box);
      });
    }
  }
  watch();
  window.addEventListener("load", () => window.MathJax?.startup?.promise.then(watch));

  // -- figures
  const figures = article.querySelectorAll(":is(figure, .cell_output) img");
  if (!figures.length) return;

  const frame = document.createElement("div");
  frame.className = "enlarged-frame";
  frame.tabIndex = 0; // so that the arrow keys move what is larger than the screen
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", "Figure, enlarged");
  dialog.append(close, frame);
  document.body.append(dialog);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === frame) dialog.close();
  });

  figures.forEach((image) => {
    const shown = image.closest("picture") ?? image;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.title = "Enlarge";
    shown.replaceWith(button);
    button.append(shown);
    button.addEventListener("click", () => {
      const large = document.createElement("img");
      large.src = image.src; // the wide one, also on a phone
      large.alt = image.alt;
      frame.replaceChildren(large);
      dialog.showModal();
    });
  });
})();
