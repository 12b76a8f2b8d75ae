/* What every page does: figures grow on a click, tables that scroll can be scrolled by keyboard. */
(() => {
  "use strict";

  // -- what is wider than the page
  const reach = new ResizeObserver((boxes) => {
    for (const { target } of boxes) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  document.querySelectorAll(".bd-article .text_html:has(table)").forEach((box) => reach.observe(box));

  // -- figures
  const figures = document.querySelectorAll(".bd-article :is(figure, .cell_output) img");
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
