/* The live wall: draws what camwall.plots.live has put into the page, and measures it as the library does. */
(() => {
  "use strict";
  const root = document.getElementById("live-wall");
  if (!root) return;
  const data = JSON.parse(root.querySelector("script").textContent);
  const { side, walls, methods, cases } = data;
  const [rows, columns] = data.grid;
  const cells = rows * columns;
  const { change, make, put, name, radios, hint, panel, card, percent, moves } = window.camwall;
  const { isVisible, leak, render, overlaid, plate } = window.camwall.drawn(data);
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

  /**
   * The dial. The gradient is one number a channel at the visible cells and 0 at the hidden ones, so its
   * mean over a window is that number times the visible share of the window, and GradCAM has the share of
   * the whole map.
   */
  function windowed(gradcam, radius, wall) {
    const share = (row, column, reach) => {
      let seen = 0;
      let all = 0;
      for (let r = Math.max(0, row - reach); r <= Math.min(rows - 1, row + reach); r += 1) {
        for (let c = Math.max(0, column - reach); c <= Math.min(columns - 1, column + reach); c += 1) {
          all += 1;
          seen += isVisible(r * columns + c, wall);
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
  const wall = () => ({ axis: chosen().axis, at: at() });
  const covered = () => at() <= chosen().at;
  const scores = (behind = state.behind) => under().scores[under().which[behind]];

  /** The raw map of a method, or of the dial, with `behind` behind the wall. */
  function rawOf(name, behind = state.behind) {
    const raw = rawMap(under().maps[behind][place(name === DIAL ? "GradCAM" : name)]);
    return name === DIAL ? windowed(raw, state.dial, wall()) : raw;
  }

  /** The largest change of a map among what can be put behind the wall; null where the network sees it. */
  function response(name) {
    if (!covered()) return null;
    const own = rawOf(name);
    return Math.max(...BEHIND.map((_, behind) => change(own, rawOf(name, behind))));
  }

  // -- words

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

  // -- the page

  const pictures = radios(
    "cases",
    "Another picture",
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

  const photo = plate(...["before", "after"].map((place) => make("span", { class: `lw-tag lw-${place}` })));

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

  window.camwall.gripped(photo, () => chosen().axis, (share) => {
    const off = walls.map((wall) => Math.abs(wall - share * side));
    move(off.indexOf(Math.min(...off)));
  });

  const choices = [...methods.map((method) => [method.name, method.name]), [DIAL, "between the two (dial)"]];
  const panels = ["left", "right"].map((which) =>
    panel(plate(), which, `Method at the ${which}`, choices, (value) => {
      state[which] = value;
      update("method");
    }),
  );

  const scoreTable = window.camwall.scoreTable("What the network answers");
  const frozen = make("p", { class: "lw-frozen" });

  const all = window.camwall.cards(methods, (method) =>
    card(plate(), method, () => {
      state.right = method;
      update("method");
    }),
  );

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
  const typical = make("p", { class: "lw-typical" });
  const meaning = hint("");
  const main = make(
    "div",
    { class: "lw-main" },
    swap,
    make("div", { class: "lw-panel lw-photo" }, make("p", { class: "lw-title" }), photo, wallControl),
    ...panels.map(({ node }) => node),
    make("div", { class: "lw-scores" }, scoreTable.table, frozen),
  );
  root.append(
    main,
    said,
    pictures,
    typical,
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
    meaning,
  );
  root.querySelectorAll(".lw-cases label").forEach((label, i) => {
    label.classList.toggle("lw-upright", cases[i].axis === 1);
    label.style.setProperty("--at", cases[i].at / side);
    photograph(i, 0).then((pixels) => put(label, pixels));
  });

  function show(node, name) {
    const map = render(rawOf(name));
    const values = { leak: leak(map, wall()), response: response(name) };
    put(node, overlaid(pixels, map));
    window.camwall.tell(node, values);
    return values;
  }

  /** What the numbers mean, with those that are interpolation and those that are a veil. */
  function putMeaning() {
    const shares = ["HiResCAM", "LayerCAM"].map((method) => percent(leak(render(rawOf(method)), wall())));
    const veiled = rawOf("EigenGradCAM").some((value, cell) => value > 0 && !isVisible(cell, wall()));
    meaning.textContent =
      "Leak: the share of a map’s norm that lies behind the wall. Maps have " +
      `${rows} × ${columns} cells, and enlarging them carries some of the last visible cells across: ` +
      `that is all of HiResCAM’s ${shares[0]} and LayerCAM’s ${shares[1]} here. ` +
      (veiled
        ? "EigenGradCAM points behind the wall without looking: it lays one value over all that is hidden, a veil, the " +
          "same whatever stands there. "
        : "So is all of EigenGradCAM’s here; on other pictures and networks it lays a veil over all that is hidden, and " +
          "points there without looking. ") +
      "Response: how far the map moves, in units of its norm, when another of the four is put behind the wall, at " +
      "most. Maps lie over the grey photograph; dark is 0, bright is 1.";
  }

  function putScores() {
    const { top, count, print } = scores();
    scoreTable.fill(top);
    frozen.textContent = covered()
      ? `All ${count} scores are equal bit for bit, whichever of the four stands behind the wall. SHA-256 of them all: ` +
        `${print}…`
      : `The wall stands ${chosen().axis ? "further right" : "lower"} than what you swap: the network sees part of it, ` +
        "and its scores change with it. A map may then move as well, so no response is given.";
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
      const spoken = (behind) => behindName(behind).replace("another animal: ", "");
      const moved = panels.map(({ which }) => {
        const far = change(rawOf(state[which], before.behind), rawOf(state[which]));
        return `${called(state[which])}’s map moved by ${moves(far)}${far ? " of its norm" : ""}`;
      });
      return (
        `Behind the wall now ${spoken(state.behind)}, before it ${spoken(before.behind)}. 0 of ${scores().count} scores ` +
        `changed (${answer()}). From one to the other ${moved.join(", ")}.`
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
      const shown = panels.map(({ node, which }) => {
        const [share, moved] = [Number(node.dataset.leak), Number(node.dataset.response)];
        const then = moved
          ? `it moves by up to ${moves(moved)} (its response)`
          : `nothing of it moves (response ${moves(0)})`;
        return (
          `${called(state[which])} has ${percent(share)} of its map’s norm there (its leak), and when something else stands ` +
          `there, ${then}.`
        );
      });
      return `The network answers ${answer()}, whatever stands ${hiddenSide()}. ${shown.join(" ")}`;
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
    window.camwall.stand([main, all], wall(), side);
    root.querySelector(".lw-title").textContent = chosen().name;
    put(photo, pixels);
    name(photo, `Photograph: ${chosen().name} on the visible side; ${behindName(state.behind)} ${hiddenSide()}.`);
    range.value = state.wall;
    rangeText.textContent = `${axis ? "columns" : "rows"} ${at()} to ${side - 1} of ${side} are hidden`;
    range.setAttribute("aria-valuetext", rangeText.textContent);
    swap.querySelectorAll("label span").forEach((span, i) => {
      span.textContent = behindName(i);
    });
    panels.forEach(({ node, which, choice }) => {
      choice.value = state[which];
      const values = show(node, state[which]);
      const far = values.response === null ? "" : `, response ${moves(values.response)}`;
      name(node, `Map of ${called(state[which])}: leak ${percent(values.leak)}${far}.`);
    });
    root.querySelectorAll(".lw-card").forEach((node) => {
      show(node, node.dataset.method);
      node.setAttribute("aria-pressed", String(node.dataset.method === state.right));
    });
    const ends = { HiResCAM: "one cell, which is HiResCAM", GradCAM: "the whole map, which is GradCAM" };
    dialText.textContent = `mean over ${ends[span(state.dial)] ?? span(state.dial)}`;
    dial.setAttribute("aria-valuetext", dialText.textContent);
    putScores();
    putMeaning();
    const { below, of } = chosen();
    typical.textContent =
      `How typical is this picture? We made ${of} of its kind: an animal that the network sees, and behind the wall ` +
      `the same species, another, or nothing. With the wall at ${axis ? "column" : "row"} ${chosen().at}, GradCAM leaks ` +
      `less on ${below} of them than on this one with ${behindName(0)}.`;
    said.textContent = tell(act, last);
    last = { ...state };
    root.dataset.shown = String(latest);
  }

  state.wall = walls.indexOf(chosen().at);
  update("start").then(() => {
    root.hidden = false;
  });
})();
