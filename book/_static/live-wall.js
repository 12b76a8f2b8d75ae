/* The live wall: draws what camwall.plots.live has put into the page, and measures it as the library does. */
(() => {
  "use strict";
  const root = document.getElementById("live-wall");
  if (!root) return;
  const data = JSON.parse(root.querySelector("script").textContent);
  const { side, walls, methods, cases } = data;
  const [rows, columns] = data.grid;
  const cells = rows * columns;
  const OVERLAY = 0.6; // how much of a map's colour covers the picture, as in the book's figures
  const EPS = 1e-7;
  const DIAL = "dial";
  const BEHIND = ["same", "other", "none", "noise"];

  // -- what the library computes

  const decoded = new Map();
  /** Raw map number `id` on its own grid, negative values cut. */
  function rawMap(id) {
    if (!decoded.has(id)) {
      const step = data.largest[id] / (data.digits.length ** 2 - 1);
      const at = (i) => data.digits.indexOf(data.maps[2 * (id * cells) + i]);
      const value = (_, i) => step * (at(2 * i) * data.digits.length + at(2 * i + 1));
      decoded.set(id, Float64Array.from({ length: cells }, value));
    }
    return decoded.get(id);
  }

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

  const render = (raw) => minMax(upsample(minMax(raw)));

  /** The share of a map's norm from row (axis 0) or column (axis 1) `at` on. */
  function leak(map, axis, at) {
    let total = 0;
    let hidden = 0;
    map.forEach((value, i) => {
      total += value * value;
      if ((axis ? i % side : Math.floor(i / side)) >= at) hidden += value * value;
    });
    return total > 0 ? Math.sqrt(hidden / total) : 0;
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

  /** Which cells have no hidden pixel in their block. */
  function isVisible(cell, axis, at) {
    const place = axis ? cell % columns : Math.floor(cell / columns);
    return Math.ceil(((place + 1) * side) / (axis ? columns : rows)) <= at;
  }

  /**
   * The dial. The gradient is one number a channel at the visible cells and 0 at the hidden ones, so its
   * mean over a window is that number times the visible share of the window, and GradCAM has the share of
   * the whole map.
   */
  function windowed(gradcam, radius, axis, at) {
    const share = (row, column, reach) => {
      let seen = 0;
      let all = 0;
      for (let r = Math.max(0, row - reach); r <= Math.min(rows - 1, row + reach); r += 1) {
        for (let c = Math.max(0, column - reach); c <= Math.min(columns - 1, column + reach); c += 1) {
          all += 1;
          seen += isVisible(r * columns + c, axis, at);
        }
      }
      return seen / all;
    };
    return gradcam.map((value, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      return (value * share(row, column, radius)) / share(row, column, Math.max(rows, columns));
    });
  }

  // -- what is chosen

  const state = { case: 0, behind: 0, wall: 0, left: "GradCAM", right: "HiResCAM", dial: 1 };
  const place = (name) => methods.findIndex((method) => method.name === name);
  const chosen = () => cases[state.case];
  const under = () => chosen().walls[state.wall];
  const at = () => walls[state.wall];
  const covered = () => at() <= chosen().at;
  const scores = (behind = state.behind) => under().scores[under().which[behind]];

  /** The raw map of a method, or of the dial, with `behind` behind the wall. */
  function rawOf(name, behind = state.behind) {
    const raw = rawMap(under().maps[behind][place(name === DIAL ? "GradCAM" : name)]);
    return name === DIAL ? windowed(raw, state.dial, chosen().axis, at()) : raw;
  }

  /** The largest change of a map among what can be put behind the wall; null where the network sees it. */
  function response(name) {
    if (!covered()) return null;
    const own = rawOf(name);
    return Math.max(...BEHIND.map((_, behind) => change(own, rawOf(name, behind))));
  }

  // -- words

  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const moves = (share) => {
    if (share === null) return "–";
    if (share === 0) return "exactly 0";
    return Number.isFinite(share) ? percent(share) : "from nothing";
  };
  const called = (name) => (name === DIAL ? `the dial at ${span(state.dial)}` : name);
  const span = (radius) => {
    if (radius === 0) return "HiResCAM";
    if (radius >= Math.max(rows, columns) - 1) return "GradCAM";
    return `${2 * radius + 1} × ${2 * radius + 1} cells`;
  };
  const behindName = (behind) =>
    [`${chosen().name} again`, `another animal: ${chosen().other}`, "nothing", "noise"][behind];
  const hiddenSide = () => (chosen().axis ? "to the right of the wall" : "below the wall");

  // -- pictures

  const loaded = new Map();
  function picture(source) {
    if (!loaded.has(source)) {
      const image = new Image();
      image.src = source;
      loaded.set(source, image.decode().then(() => image));
    }
    return loaded.get(source);
  }

  async function photograph(number, behind) {
    const one = cases[number];
    const hidden = behind === 3 ? data.noise[one.axis] : one.hidden[behind];
    const [seen, rest] = await Promise.all([picture(one.visible), picture(hidden)]);
    const canvas = new OffscreenCanvas(side, side);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(seen, 0, 0);
    pen.drawImage(rest, one.axis ? one.at : 0, one.axis ? 0 : one.at);
    return pen.getImageData(0, 0, side, side);
  }

  const palette = Uint8Array.from(data.colours.match(/../g), (pair) => parseInt(pair, 16));

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

  // -- the page

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }

  /** A picture with the wall drawn over it; one without a text says nothing beside its caption. */
  function plate(...more) {
    const canvas = make("canvas", { width: side, height: side, "aria-hidden": "true" });
    return make("span", { class: "lw-plate" }, canvas, make("span", { class: "lw-line" }), ...more);
  }

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

  const pictures = radios(
    "cases",
    "Picture",
    cases.length,
    (i) => [
      plate(),
      make("span", { class: "lw-aside" }, `${cases[i].name}, ${cases[i].axis ? "wall upright" : "wall level"}`),
    ],
    (i) => {
      state.case = i;
      state.wall = walls.indexOf(chosen().at);
      update("case");
    },
  );

  const seenTag = make("span", { class: "lw-tag lw-seen" }, "the network sees this");
  const hiddenTag = make("span", { class: "lw-tag lw-hidden" }, "hidden from the network");
  const grip = make("div", { class: "lw-grip", "aria-hidden": "true" });
  const photo = plate(seenTag, hiddenTag, grip);

  const swap = radios(
    "behind",
    "Behind the wall",
    BEHIND.length,
    () => [make("span")],
    (i) => {
      state.behind = i;
      update("behind");
    },
  );

  const range = make("input", {
    type: "range", id: "lw-wall", min: 0, max: walls.length - 1, step: 1,
    oninput: () => move(Number(range.value)),
  });
  const rangeText = make("output", { for: "lw-wall" });
  const wallControl = make(
    "div",
    { class: "lw-range" },
    make("label", { for: "lw-wall" }, "Move the wall"),
    range,
    rangeText,
  );

  function move(wall) {
    if (wall === state.wall) return;
    state.wall = wall;
    update("wall");
  }

  grip.addEventListener("pointerdown", (event) => {
    grip.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  grip.addEventListener("pointermove", (event) => {
    if (!grip.hasPointerCapture(event.pointerId)) return;
    const box = photo.getBoundingClientRect();
    const along = chosen().axis ? (event.clientX - box.left) / box.width : (event.clientY - box.top) / box.height;
    const off = walls.map((wall) => Math.abs(wall - along * side));
    move(off.indexOf(Math.min(...off)));
  });

  /** One of the two large maps, with its choice of a method. */
  function panel(which, label) {
    const choice = make(
      "select",
      {
        "aria-label": label,
        onchange: () => {
          state[which] = choice.value;
          update("method");
        },
      },
      ...methods.map(({ name }) => make("option", { value: name }, name)),
      make("option", { value: DIAL }, "between the two (dial)"),
    );
    const shown = plate();
    const values = make(
      "p",
      { class: "lw-values" },
      make("span", {}, "leak ", number("leak")),
      make("span", {}, "response ", number("response")),
    );
    return { node: make("div", { class: `lw-panel lw-${which}` }, choice, shown, values), which, choice };
  }
  const panels = [panel("left", "Method at the left"), panel("right", "Method at the right")];

  const scoreRows = make("tbody");
  const frozen = make("p", { class: "lw-frozen" });
  const scoreTable = make(
    "table",
    {},
    make("caption", {}, "What the network answers"),
    make(
      "thead",
      {},
      make("tr", {}, ...["class", "probability", "score"].map((text) => make("th", { scope: "col" }, text))),
    ),
    scoreRows,
  );

  const card = (method) =>
    make(
      "button",
      {
        type: "button",
        class: "lw-card",
        "data-method": method.name,
        onclick: () => {
          state.right = method.name;
          update("method");
        },
      },
      plate(),
      make("span", { class: "lw-name" }, method.name),
      make("span", {}, "leak ", number("leak")),
      make("span", {}, "response ", number("response")),
    );
  const cards = (sees) => {
    const own = methods.filter((method) => method.sees === sees).map(card);
    return make("div", { class: "lw-cards", style: `--count: ${own.length}` }, ...own);
  };

  const dial = make("input", {
    type: "range", id: "lw-dial", min: 0, max: Math.max(rows, columns) - 1, step: 1, value: state.dial,
    oninput: () => {
      state.dial = Number(dial.value);
      state.right = DIAL;
      update("dial");
    },
  });
  const dialText = make("output", { for: "lw-dial" });

  const said = make("p", { class: "lw-said", role: "status" });
  const main = make(
    "div",
    { class: "lw-main" },
    swap,
    make("div", { class: "lw-panel lw-photo" }, make("p", { class: "lw-title" }), photo, wallControl),
    ...panels.map(({ node }) => node),
    make("div", { class: "lw-scores" }, scoreTable, frozen),
  );
  const all = make(
    "div",
    { class: "lw-all" },
    make("section", {}, make("h2", { class: "lw-head" }, "These see through it"), cards(true)),
    make("section", {}, make("h2", { class: "lw-head" }, "These do not"), cards(false)),
  );
  root.append(
    pictures,
    main,
    said,
    all,
    make(
      "div",
      { class: "lw-dial" },
      make("label", { for: "lw-dial" }, "The dial from HiResCAM to GradCAM"),
      dial,
      dialText,
      hint(
        "HiResCAM weighs each place with the gradient there, GradCAM with its mean over the whole map. The " +
          "dial takes the mean over a window. Once the window reaches over the wall, what is hidden lights up.",
      ),
    ),
    hint(
      "Leak: the share of a map’s norm that lies behind the wall. Interpolation carries a little across from the " +
        "last visible cells; that is all of HiResCAM’s and LayerCAM’s. Response: how far the map moves, in units of " +
        "its norm, when another of the four is put behind the wall, at most. Maps lie over the grey photograph; " +
        "dark is 0, bright is 1.",
    ),
  );
  root.querySelectorAll(".lw-cases label").forEach((label, i) => {
    label.classList.toggle("lw-upright", cases[i].axis === 1);
    label.style.setProperty("--at", cases[i].at / side);
    photograph(i, 0).then((pixels) => label.querySelector("canvas").getContext("2d").putImageData(pixels, 0, 0));
  });

  function put(node, name) {
    const map = render(rawOf(name));
    const values = { leak: leak(map, chosen().axis, at()), response: response(name) };
    node.querySelector("canvas").getContext("2d").putImageData(overlaid(pixels, map), 0, 0);
    node.querySelector(".lw-leak").textContent = percent(values.leak);
    const small = node.classList.contains("lw-card") && values.response === 0;
    node.querySelector(".lw-response").textContent = small ? "0" : moves(values.response);
    Object.assign(node.dataset, values);
    return values;
  }

  function putScores() {
    const { top, count, print } = scores();
    scoreRows.replaceChildren(
      ...top.map(([name, share, score]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, name),
          make("td", { style: `--share: ${share}` }, percent(share)),
          make("td", {}, score),
        ),
      ),
    );
    frozen.textContent = covered()
      ? `All ${count} scores are equal bit for bit, whichever of the four stands behind the wall. SHA-256 of them all: ` +
        `${print}…`
      : `The wall stands ${chosen().axis ? "further right" : "lower"} than what you swap: the network sees part of it, ` +
        "and its scores change with it.";
    root.dataset.print = print;
  }

  /** What the last act did, in a sentence or two. */
  function tell(act, before) {
    const answer = () => `${scores().top[0][0]}, ${percent(scores().top[0][1])}`;
    const numbers = panels.map(({ node, which }) => {
      const { leak: share, response: moved } = node.dataset;
      const second = moved === "null" ? "" : `, response ${moves(Number(moved))}`;
      return `${called(state[which])}: leak ${percent(Number(share))}${second}.`;
    });
    if (act === "behind" && covered()) {
      const moved = panels.map(({ which }) => {
        const far = change(rawOf(state[which], before.behind), rawOf(state[which]));
        return `${called(state[which])}’s map moved by ${moves(far)}${far ? " of its norm" : ""}`;
      });
      return (
        `Behind the wall now: ${behindName(state.behind)}. 0 of ${scores().count} scores changed (${answer()}). ` +
        `${moved.join(", ")}.`
      );
    }
    if (act === "wall") {
      const [line, there] = chosen().axis ? ["column", "left of"] : ["row", "above"];
      return (
        `The network now sees what lies ${there} ${line} ${at()}, so its scores are others: ${answer()}. ` +
        (covered() ? "What stands behind the wall still changes none. " : "") +
        numbers.join(" ")
      );
    }
    if (act === "case" || act === "start") {
      const { below, of } = chosen();
      return (
        `The network answers ${answer()}, whatever stands ${hiddenSide()}. ${numbers.join(" ")} How typical is that? ` +
        `GradCAM leaks less on ${below} of our ${of} ${chosen().axis ? "stacks side by side" : "stacks"} than here with ` +
        `${behindName(0)}.`
      );
    }
    return `Top class: ${answer()}. ${numbers.join(" ")}`;
  }

  let pixels = null;
  let last = { ...state };
  let latest = 0;

  async function update(act) {
    latest += 1;
    const turn = latest;
    const drawn = await photograph(state.case, state.behind);
    if (turn !== latest) return; // another act came in between
    pixels = drawn;
    const { axis } = chosen();
    for (const part of [main, all]) {
      part.classList.toggle("lw-upright", axis === 1);
      part.style.setProperty("--at", at() / side);
    }
    root.querySelector(".lw-title").textContent = chosen().name;
    photo.querySelector("canvas").getContext("2d").putImageData(pixels, 0, 0);
    name(photo, `Photograph: ${chosen().name} on the visible side; ${behindName(state.behind)} ${hiddenSide()}.`);
    range.value = state.wall;
    rangeText.textContent = `${axis ? "columns" : "rows"} ${at()} to ${side - 1} of ${side} are hidden`;
    range.setAttribute("aria-valuetext", rangeText.textContent);
    swap.querySelectorAll("label span").forEach((span, i) => {
      span.textContent = behindName(i);
    });
    panels.forEach(({ node, which, choice }) => {
      choice.value = state[which];
      const values = put(node, state[which]);
      const far = values.response === null ? "" : `, response ${moves(values.response)}`;
      name(node, `Map of ${called(state[which])}: leak ${percent(values.leak)}${far}.`);
    });
    root.querySelectorAll(".lw-card").forEach((node) => {
      put(node, node.dataset.method);
      node.setAttribute("aria-pressed", String(node.dataset.method === state.right));
    });
    dialText.textContent = `mean over ${span(state.dial)}`;
    dial.setAttribute("aria-valuetext", dialText.textContent);
    putScores();
    said.textContent = tell(act, last);
    last = { ...state };
    root.dataset.shown = String(latest);
  }

  state.wall = walls.indexOf(chosen().at);
  root.hidden = false;
  update("start");
})();
