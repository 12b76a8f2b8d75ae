/* What the pages share that draw a wall: the library's arithmetic on maps, pictures, and their parts. */
window.camwall = (() => {
  "use strict";
  const OVERLAY = 0.6; // how much of a map's colour covers the picture, as in the book's figures
  const EPS = 1e-7;

  /** To [0, 1]; a constant map becomes 0. */
  function minMax(map) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of map) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return map.map((value) => (value - low) / (EPS + (high - low)));
  }

  /** How far a map moves, in units of its norm. */
  function change(before, after) {
    let moved = 0;
    let size = 0;
    before.forEach((value, i) => {
      moved += (value - after[i]) ** 2;
      size += value * value;
    });
    return moved === 0 ? 0 : Math.sqrt(moved / size);
  }

  /**
   * What needs to know the size of pictures, of maps, and the colours. A wall is {axis, at, first}: from row
   * (axis 0) or column (axis 1) `at` on all is hidden, or, with `first`, what comes before it.
   */
  function drawn({ side, grid: [rows, columns], colours }) {
    /** Which two cells a pixel lies between, and how near to the second: half-pixel centres. */
    function neighbours(count) {
      return Array.from({ length: side }, (_, pixel) => {
        const place = Math.max(0, ((pixel + 0.5) * count) / side - 0.5);
        const first = Math.floor(place);
        return [first, Math.min(first + 1, count - 1), place - first];
      });
    }
    const across = neighbours(columns);
    const down = neighbours(rows);

    function upsample(map) {
      const wide = new Float64Array(rows * side);
      for (let r = 0; r < rows; r += 1) {
        across.forEach(([a, b, share], x) => {
          wide[r * side + x] = map[r * columns + a] * (1 - share) + map[r * columns + b] * share;
        });
      }
      const full = new Float64Array(side * side);
      down.forEach(([a, b, share], y) => {
        for (let x = 0; x < side; x += 1) {
          full[y * side + x] = wide[a * side + x] * (1 - share) + wide[b * side + x] * share;
        }
      });
      return full;
    }

    const isHidden = (pixel, { axis, at, first }) =>
      (axis ? pixel % side : Math.floor(pixel / side)) >= at !== Boolean(first);

    /** Whether a cell has no hidden pixel in its block. */
    function isVisible(cell, { axis, at, first }) {
      const count = axis ? columns : rows;
      const place = axis ? cell % columns : Math.floor(cell / columns);
      return first ? Math.floor((place * side) / count) >= at : Math.ceil(((place + 1) * side) / count) <= at;
    }

    /** The share of a map's norm that lies behind a wall. */
    function leak(map, wall) {
      let total = 0;
      let hidden = 0;
      map.forEach((value, i) => {
        total += value * value;
        if (isHidden(i, wall)) hidden += value * value;
      });
      return total > 0 ? Math.sqrt(hidden / total) : 0;
    }

    const palette = Uint8Array.from(colours.match(/../g), (pair) => parseInt(pair, 16));

    /** A rendered map over the grey photograph. */
    function overlaid(photo, map) {
      const shown = new ImageData(side, side);
      map.forEach((value, i) => {
        const colour = 3 * Math.min(255, Math.floor(256 * value));
        const grey = (photo.data[4 * i] + photo.data[4 * i + 1] + photo.data[4 * i + 2]) / 3;
        for (let k = 0; k < 3; k += 1) {
          shown.data[4 * i + k] = (1 - OVERLAY) * grey + OVERLAY * palette[colour + k];
        }
        shown.data[4 * i + 3] = 255;
      });
      return shown;
    }

    /** A picture with the wall drawn over it; one without a text says nothing beside its caption. */
    function plate(...more) {
      const canvas = make("canvas", { width: side, height: side, "aria-hidden": "true" });
      return make("span", { class: "lw-plate" }, canvas, make("span", { class: "lw-line" }), ...more);
    }

    const render = (raw) => minMax(upsample(minMax(raw)));
    return { isHidden, isVisible, leak, render, overlaid, plate };
  }

  // -- parts of a page

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }

  function put(node, pixels) {
    node.querySelector("canvas").getContext("2d").putImageData(pixels, 0, 0);
  }

  /** Say what a plate shows. */
  function name(node, text) {
    const canvas = node.querySelector("canvas");
    canvas.removeAttribute("aria-hidden");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text);
  }

  /** A group of radio buttons; `children(i)` is what stands in the label of the i-th. */
  function radios(name, legend, count, children, choose) {
    const options = Array.from({ length: count }, (_, i) =>
      make(
        "label",
        {},
        make("input", { type: "radio", name: `lw-${name}`, value: i, checked: i === 0, onchange: () => choose(i) }),
        ...children(i),
      ),
    );
    return make("fieldset", { class: `lw-${name}` }, make("legend", {}, legend), ...options);
  }

  const hint = (text) => make("p", { class: "lw-hint" }, text);
  const number = (name) => make("b", { class: `lw-${name}` });

  /** One of two large maps, with a choice of what it shows. */
  function panel(plate, which, label, options, choose) {
    const choice = make(
      "select",
      { "aria-label": label, onchange: () => choose(choice.value) },
      ...options.map(([value, text]) => make("option", { value }, text)),
    );
    const values = make(
      "p",
      { class: "lw-values" },
      make("span", {}, "leak ", number("leak")),
      make("span", {}, "response ", number("response")),
    );
    return { node: make("div", { class: `lw-panel lw-${which}` }, choice, plate, values), which, choice };
  }

  /** One small map of a method; a click chooses it. */
  const card = (plate, method, choose) =>
    make(
      "button",
      { type: "button", class: "lw-card", "data-method": method, onclick: () => choose(method) },
      plate,
      make("span", { class: "lw-name" }, method),
      make("span", {}, "leak ", number("leak")),
      make("span", {}, "response ", number("response")),
    );

  /** The cards of all methods: those that see through a wall, and those that do not. */
  const cards = (methods, card) =>
    make(
      "div",
      { class: "lw-all" },
      ...[true, false].map((sees) => {
        const own = methods.filter((method) => method.sees === sees).map((method) => card(method.name));
        return make(
          "section",
          {},
          make("h2", { class: "lw-head" }, sees ? "These see through the wall" : "These do not"),
          make("div", { class: "lw-cards" }, ...own),
        );
      }),
    );

  /** A table of classes, and how one of its rows is made. */
  function scoreTable(caption) {
    const rows = make("tbody");
    const heads = ["class", "probability", "score"].map((text) => make("th", { scope: "col" }, text));
    const table = make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...heads)), rows);
    const row = (name, share, score) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, name),
        make("td", { style: `--share: ${share}` }, percent(share)),
        make("td", {}, score),
      );
    return { table, fill: (all) => rows.replaceChildren(...all.map((each) => row(...each))) };
  }

  /** The grip of a wall: `move` gets the place along the plate, from 0 to 1, `drop` its end. */
  function gripped(plate, axis, move, drop = () => {}) {
    const grip = make("div", { class: "lw-grip", "aria-hidden": "true" });
    grip.addEventListener("pointerdown", (event) => {
      grip.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    grip.addEventListener("pointermove", (event) => {
      if (!grip.hasPointerCapture(event.pointerId)) return;
      const box = plate.getBoundingClientRect();
      move(axis() ? (event.clientX - box.left) / box.width : (event.clientY - box.top) / box.height);
    });
    grip.addEventListener("lostpointercapture", drop);
    plate.append(grip);
  }

  /** Put the wall where it stands, on every plate of these parts, and say which side is hidden. */
  function stand(parts, { axis, at, first }, side) {
    // Beside an upright wall and on a phone there may be little room.
    const short = axis || matchMedia("(width <= 600px)").matches;
    const texts = short ? ["seen", "hidden"] : ["the network sees this", "hidden from the network"];
    if (first) texts.reverse();
    for (const part of parts) {
      part.classList.toggle("lw-upright", axis === 1);
      part.style.setProperty("--at", at / side);
      part.querySelectorAll(".lw-before, .lw-after").forEach((tag) => {
        tag.textContent = texts[Number(tag.classList.contains("lw-after"))];
      });
    }
  }

  // -- words

  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`; // on one line
  const moves = (share) => {
    if (share === null) return "–";
    if (share === 0) return "exactly 0";
    return Number.isFinite(share) ? percent(share) : "from nothing";
  };

  /** A map's numbers, as texts and as data. */
  function tell(node, values) {
    node.querySelector(".lw-leak").textContent = percent(values.leak);
    const small = node.classList.contains("lw-card") && values.response === 0;
    node.querySelector(".lw-response").textContent = small ? "0" : moves(values.response);
    Object.assign(node.dataset, values);
  }

  return {
    drawn, change, make, put, name, radios, hint, number, panel, card, cards, scoreTable, gripped, stand, percent,
    moves, tell,
  };
})();
