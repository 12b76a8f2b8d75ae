/* «Your own photograph»: runs the trunk that camwall.plots.photo has exported, and computes as the library does. */
(() => {
  "use strict";
  const root = document.getElementById("own-photo");
  if (!root) return;
  const data = JSON.parse(root.querySelector("script").textContent);
  const { side, methods, files, examples } = data;
  const [rows, columns] = data.grid;
  const cells = rows * columns;
  const here = new URL("photo/", document.currentScript.src);
  const { change, make, put, name, radios, hint, panel, card, percent, moves } = window.camwall;
  const { isHidden, isVisible, leak, render, overlaid, plate } = window.camwall.drawn(data);

  // -- what is loaded, once it is asked for

  /** The bytes that a script of ours holds: a page opened from a file may run scripts, not fetch files. */
  async function unpacked(file) {
    await new Promise((done, fail) => {
      const lost = () => fail(new Error(`${file}.js, which belongs beside this page, cannot be read`));
      document.head.append(make("script", { src: new URL(`${file}.js`, here), onload: done, onerror: lost }));
    });
    const text = atob(window.camwall.packed[file]);
    delete window.camwall.packed[file];
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  const network = {};

  async function load(say) {
    const got = {};
    for (const [i, file] of files.entries()) {
      say(`Loading ${file}, ${i + 1} of ${files.length} …`);
      got[file] = await unpacked(file);
    }
    say("Starting the network …");
    const code = URL.createObjectURL(new Blob([got.runtime], { type: "text/javascript" }));
    const runtime = await import(code);
    URL.revokeObjectURL(code);
    Object.assign(runtime.env.wasm, { numThreads: 1, proxy: false, wasmBinary: got.wasm });
    const session = await runtime.InferenceSession.create(got.trunk, { executionProviders: ["wasm"] });
    const numbers = new Float32Array(got.head);
    network.names = JSON.parse(new TextDecoder().decode(got.names));
    const classes = network.names.length;
    network.channels = numbers.length / classes - 1;
    network.weights = numbers.subarray(0, classes * network.channels);
    network.bias = numbers.subarray(classes * network.channels);
    network.maps = async (image) => {
      const input = new runtime.Tensor("float32", image, [1, 3, side, side]);
      return (await session.run({ image: input })).maps.data;
    };
  }

  // -- pictures: Float32Array [3, side, side] of network inputs

  function inputs(picture) {
    const image = new Float32Array(3 * side * side);
    for (let k = 0; k < 3; k += 1) {
      for (let i = 0; i < side * side; i += 1) {
        image[k * side * side + i] = (picture.data[4 * i + k] / 255 - data.mean[k]) / data.std[k];
      }
    }
    return image;
  }

  function shown(image) {
    const picture = new ImageData(side, side);
    for (let i = 0; i < side * side; i += 1) {
      for (let k = 0; k < 3; k += 1) {
        picture.data[4 * i + k] = Math.round(255 * (image[k * side * side + i] * data.std[k] + data.mean[k]));
      }
      picture.data[4 * i + 3] = 255;
    }
    return picture;
  }

  /** What the hidden pixels become: (image, channel, pixel, wall, mean of the visible) → a value. */
  const pixel = (k, share) => (share - data.mean[k]) / data.std[k];
  const PAINTS = {
    "as photographed": (image, k, i) => image[k * side * side + i],
    grey: (_, k) => pixel(k, 0.5),
    noise: (_, k) => pixel(k, Math.random()),
    mirror: (image, k, i, wall, mean) => {
      const [row, column] = [Math.floor(i / side), i % side];
      const other = wall.axis ? row * side + side - 1 - column : (side - 1 - row) * side + column;
      return isHidden(other, wall) ? mean[k] : image[k * side * side + other];
    },
    black: (_, k) => pixel(k, 0),
    white: (_, k) => pixel(k, 1),
  };
  const paints = Object.keys(PAINTS);

  function painted(image, wall, paint) {
    const mean = [0, 1, 2].map((k) => {
      let total = 0;
      let count = 0;
      for (let i = 0; i < side * side; i += 1) {
        if (isHidden(i, wall)) continue;
        total += image[k * side * side + i];
        count += 1;
      }
      return total / count;
    });
    return image.map((value, place) => {
      const [k, i] = [Math.floor(place / (side * side)), place % (side * side)];
      return isHidden(i, wall) ? paint(image, k, i, wall, mean) : value;
    });
  }

  // -- the walled network: the maps of the visible cells are those of an image whose hidden pixels are 0

  async function pass(image, wall) {
    const seen = await network.maps(painted(image, wall, () => 0));
    const whole = await network.maps(image);
    const visible = Array.from({ length: cells }, (_, cell) => isVisible(cell, wall));
    const maps = whole.map((value, place) => (visible[place % cells] ? seen[place] : value));
    const read = new Float64Array(network.channels); // Σ over the visible cells of each channel
    const all = new Float64Array(network.channels);
    maps.forEach((value, place) => {
      const channel = Math.floor(place / cells);
      all[channel] += value;
      if (visible[place % cells]) read[channel] += value;
    });
    const scores = Float32Array.from(network.bias, (bias, unit) => {
      let sum = 0;
      for (let v = 0; v < network.channels; v += 1) sum += network.weights[unit * network.channels + v] * read[v];
      return bias + sum / cells;
    });
    return { image, wall, maps, visible, read, all, scores };
  }

  // -- the methods: the head is linear on a mean over cells, so the gradient is W / cells where the head reads

  const weighted = (alpha, maps) => {
    const raw = new Float64Array(cells);
    maps.forEach((value, place) => {
      raw[place % cells] += alpha(Math.floor(place / cells)) * value;
    });
    return raw;
  };

  /** σ₁u₁ of the centred channels, its largest absolute value positive. */
  function component({ maps, all }) {
    const centred = Float64Array.from(maps, (value, i) => value - all[Math.floor(i / cells)] / cells);
    const gram = Array.from({ length: cells }, () => new Float64Array(cells));
    for (let v = 0; v < centred.length; v += cells) {
      for (let p = 0; p < cells; p += 1) {
        for (let q = 0; q <= p; q += 1) gram[p][q] += centred[v + p] * centred[v + q];
      }
    }
    for (let p = 0; p < cells; p += 1) for (let q = p + 1; q < cells; q += 1) gram[p][q] = gram[q][p];
    const trace = gram.reduce((sum, row, p) => sum + row[p], 0);
    if (!trace) return new Float64Array(cells);
    // Powers by squaring: what is left is the first axis alone.
    let power = gram.map((row) => row.map((value) => value / trace));
    for (let turn = 0; turn < 14; turn += 1) {
      const square = power.map((row) =>
        Float64Array.from(row, (_, q) => row.reduce((sum, value, r) => sum + value * power[r][q], 0)),
      );
      const size = square.reduce((sum, row, p) => sum + row[p], 0);
      power = square.map((row) => row.map((value) => value / size));
    }
    const most = power.reduce((best, row, p) => (row[p] > power[best][best] ? p : best), 0);
    const length = Math.hypot(...power[most]);
    const axis = power[most].map((value) => value / length);
    const size = Math.sqrt(axis.reduce((sum, a, p) => sum + a * gram[p].reduce((s, g, q) => s + g * axis[q], 0), 0));
    const turned = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0) < 0 ? -1 : 1;
    return axis.map((value) => turned * size * value);
  }

  const RULES = {
    GradCAM: ({ maps, count, gradient }) => weighted((v) => (count / cells) * gradient(v), maps),
    "GradCAM++": ({ maps, all, count, gradient }) =>
      weighted((v) => {
        const g = gradient(v);
        return g > 0 ? (count * g * g * g) / (2 * g * g + all[v] * g * g * g + 1e-6) : 0;
      }, maps),
    XGradCAM: ({ maps, read, all, gradient }) => weighted((v) => (gradient(v) * read[v]) / (all[v] + 1e-7), maps),
    AblationCAM: ({ maps, read, score, gradient }) =>
      weighted((v) => (gradient(v) * read[v] ? (gradient(v) * read[v]) / score : 0), maps),
    "EigenCAM (corrected)": component,
    LayerCAM: ({ maps, visible, gradient }) =>
      weighted((v) => Math.max(0, gradient(v)), maps).map((value, p) => (visible[p] ? value : 0)),
    HiResCAM: ({ maps, visible, gradient }) => weighted(gradient, maps).map((value, p) => (visible[p] ? value : 0)),
  };

  /** Raw maps of all methods for a class, negative values cut. */
  function explained(found, target) {
    const first = target * network.channels;
    const count = found.visible.filter(Boolean).length;
    const gradient = (v) => network.weights[first + v] / cells;
    const evidence = { ...found, count, gradient, score: found.scores[target] };
    return Object.fromEntries(
      methods.map((method) => [method.name, RULES[method.name](evidence).map((value) => Math.max(0, value))]),
    );
  }

  // -- what is chosen, and what was found

  const SIDES = [
    { text: "the lower part", axis: 0, first: false },
    { text: "the right part", axis: 1, first: false },
    { text: "the upper part", axis: 0, first: true },
    { text: "the left part", axis: 1, first: true },
  ];
  const BLOCK = side / rows;
  const state = { image: null, side: 0, at: 160, paint: 0, target: null, left: "GradCAM", right: "HiResCAM" };
  const wall = () => ({ ...SIDES[state.side], at: state.at });
  let base = null; // as photographed
  let now = null; // with what stands behind the wall now
  let seconds = 0;

  async function measure() {
    const image = state.paint ? painted(state.image, wall(), PAINTS[paints[state.paint]]) : state.image;
    const start = performance.now();
    now = await pass(image, wall());
    seconds = (performance.now() - start) / 1000;
    if (!state.paint) base = now;
  }

  /** How many of the scores are other numbers, to the last bit, than as photographed. */
  const moved = () => now.scores.filter((score, i) => !Object.is(score, base.scores[i])).length;

  // -- the page

  const said = make("p", { class: "lw-said", role: "status" });

  /** A picture of any size, cut and resized as for the network; one of its size is taken as it is. */
  async function take(source, where) {
    const bitmap = await createImageBitmap(source);
    const canvas = new OffscreenCanvas(side, side);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.imageSmoothingQuality = "high";
    const { width, height } = bitmap;
    const exact = width === side && height === side;
    const cut = Math.min(width, height) * (exact ? 1 : data.cut);
    pen.drawImage(bitmap, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, side, side);
    state.image = inputs(pen.getImageData(0, 0, side, side));
    Object.assign(state, { paint: 0, target: null }, where);
    await update("picture");
  }

  async function chosen(file) {
    if (!file) return;
    try {
      await take(file);
    } catch (error) {
      said.textContent = `${file.name || "This"} is no picture that this browser can open.`;
    }
  }

  function build() {
    const fetched = async (i) => {
      const { axis, at } = examples[i];
      const picture = await fetch(examples[i].source);
      const where = { side: SIDES.findIndex((one) => one.axis === axis && !one.first), at };
      await take(await picture.blob(), where);
    };
    const picker = (text, more) => {
      const input = make("input", {
        type: "file", accept: "image/*", ...more, onchange: () => chosen(input.files[0]),
      });
      return make("label", { class: "lw-file" }, text, input);
    };
    const pictures = radios(
      "cases",
      "Examples",
      examples.length,
      (i) => [
        make("img", { src: examples[i].source, alt: "" }),
        make("span", { class: "lw-aside" }, examples[i].name),
      ],
      fetched,
    );
    const save = make("a", { download: "photograph.png", href: "#own-photo" }, "save its 224 × 224 pixels");
    save.addEventListener("click", () => {
      const canvas = make("canvas", { width: side, height: side });
      canvas.getContext("2d").putImageData(shown(base.image), 0, 0);
      save.href = canvas.toDataURL("image/png");
    });
    const sources = make(
      "div",
      { class: "lw-sources" },
      picker("Choose a photograph", {}),
      picker("Take one", { capture: "environment" }),
      make("span", { class: "lw-or" }, "or drop one anywhere here, or take an example:"),
    );

    const swap = radios(
      "behind",
      "Behind the wall",
      paints.length,
      (i) => [make("span", {}, paints[i])],
      (i) => {
        state.paint = i;
        update("paint");
      },
    );

    const tags = ["seen", "hidden"].map((which) => make("span", { class: `lw-tag lw-${which}` }));
    const photo = plate(...tags);
    const sides = make(
      "select",
      {
        "aria-label": "Which part is hidden",
        onchange: () => {
          state.side = Number(sides.value);
          place(state.at);
          update("wall");
        },
      },
      ...SIDES.map(({ text }, value) => make("option", { value }, `Hide ${text}`)),
    );
    const range = make("input", { type: "range", id: "lw-wall", step: 1 });
    const rangeText = make("output", { for: "lw-wall" });

    /** Put the wall somewhere with a cell on either side; the network runs when it is let go. */
    function place(at) {
      const { axis, first } = SIDES[state.side];
      [range.min, range.max] = first ? [1, side - BLOCK] : [BLOCK, side - 1];
      state.at = Math.min(Math.max(Math.round(at), range.min), range.max);
      range.value = state.at;
      const [from, to] = first ? [0, state.at - 1] : [state.at, side - 1];
      rangeText.textContent = `${axis ? "columns" : "rows"} ${from} to ${to} of ${side} are hidden`;
      range.setAttribute("aria-valuetext", rangeText.textContent);
      const texts = ["the network sees this", "hidden from the network"];
      tags.forEach((tag, i) => {
        tag.textContent = texts[first ? 1 - i : i];
      });
      window.camwall.stand([main, all], wall(), side);
    }
    let told = 0;
    range.addEventListener("input", () => {
      place(range.value);
      clearTimeout(told);
      told = setTimeout(() => update("wall"), 250);
    });
    window.camwall.gripped(
      photo,
      () => SIDES[state.side].axis,
      (share) => place(share * side),
      () => update("wall"),
    );

    const panels = ["left", "right"].map((which) =>
      panel(plate(), which, `Method at the ${which}`, methods.map((m) => [m.name, m.name]), (value) => {
        state[which] = value;
        update("method");
      }),
    );
    const all = window.camwall.cards(methods, (method) =>
      card(plate(), method, () => {
        state.right = method;
        update("method");
      }),
    );
    const scoreTable = window.camwall.scoreTable("What the network answers");
    const target = make("select", { "aria-label": "The class to explain" });
    target.addEventListener("change", () => {
      state.target = Number(target.value);
      update("target");
    });
    const frozen = make("p", { class: "lw-frozen" });
    const main = make(
      "div",
      { class: "lw-main" },
      swap,
      make(
        "div",
        { class: "lw-panel lw-photo" },
        sides,
        photo,
        make("div", { class: "lw-range" }, make("label", { for: "lw-wall" }, "Move the wall"), range, rangeText),
      ),
      ...panels.map(({ node }) => node),
      make("div", { class: "lw-scores" }, scoreTable.table, target, frozen),
    );
    root.replaceChildren(
      sources,
      pictures,
      said,
      main,
      all,
      hint(
        "Leak: the share of a map’s norm that lies behind the wall, some of it carried across by interpolation. " +
          "Response: how far the map moves, in units of its norm, between the photograph and what stands behind " +
          "the wall now.",
      ),
      make("p", { class: "lw-hint" }, "The photograph as the network takes it: ", save, "."),
    );
    place(state.at);

    for (const kind of ["dragover", "drop"]) {
      root.addEventListener(kind, (event) => {
        event.preventDefault();
        if (kind === "drop") chosen(event.dataTransfer.files[0]);
      });
    }

    /** Draw what was found. */
    window.camwall.own.draw = (act) => {
      const order = Array.from(now.scores.keys()).sort((a, b) => now.scores[b] - now.scores[a]);
      const top = order.slice(0, 5);
      if (state.target === null) [state.target] = top;
      const size = now.scores.reduce((sum, score) => sum + Math.exp(score - now.scores[top[0]]), 0);
      const share = (unit) => Math.exp(now.scores[unit] - now.scores[top[0]]) / size;
      scoreTable.fill(top.map((unit) => [network.names[unit], share(unit), now.scores[unit].toPrecision(7)]));
      target.replaceChildren(
        ...[...new Set([...top, state.target])].map((unit) =>
          make("option", { value: unit, selected: unit === state.target }, `Explain: ${network.names[unit]}`),
        ),
      );
      const before = explained(base, state.target);
      const after = explained(now, state.target);
      const pixels = shown(now.image);
      put(photo, pixels);
      const behind = paints[state.paint];
      name(photo, `The photograph, ${SIDES[state.side].text} hidden, there: ${behind}.`);
      swap.querySelectorAll("input")[state.paint].checked = true;
      sides.value = state.side;
      place(state.at);
      const show = (node, method) => {
        const map = render(after[method]);
        put(node, overlaid(pixels, map));
        const response = state.paint ? change(before[method], after[method]) : null;
        const values = { leak: leak(map, now.wall), response };
        window.camwall.tell(node, values);
        window.camwall.own.maps[method] = map;
        return `${method}: leak ${percent(values.leak)}${state.paint ? `, response ${moves(response)}` : ""}.`;
      };
      const numbers = panels.map(({ node, which, choice }) => {
        choice.value = state[which];
        const text = show(node, state[which]);
        name(node, `Map of ${text}`);
        return text;
      });
      all.querySelectorAll(".lw-card").forEach((node) => {
        show(node, node.dataset.method);
        node.setAttribute("aria-pressed", String(node.dataset.method === state.right));
      });
      const count = now.scores.length;
      const answer = `${network.names[top[0]]}, ${percent(share(top[0]))}`;
      const took = `${seconds.toFixed(2)} s for two passes of the network, on one thread.`;
      frozen.textContent = state.paint
        ? `Run again: ${moved()} of ${count} scores differ, in any bit, from those as photographed.`
        : "Put something else behind the wall: the network runs again.";
      said.textContent =
        act === "paint" && state.paint
          ? `Behind the wall now: ${behind}. The network ran again, and ${moved()} of ${count} scores changed ` +
            `(${answer}). ${numbers.join(" ")}`
          : `The network answers ${answer}, whatever is painted behind the wall. ${numbers.join(" ")} It took ${took}`;
      Object.assign(root.dataset, { seconds, moved: moved(), at: now.wall.at });
    };
    return fetched(0);
  }

  let running = Promise.resolve();
  /** One act after the other; each draws what stands when its turn has come. */
  function update(act) {
    if (act === "wall") Object.assign(state, { paint: 0, target: null });
    if (act !== "method" && act !== "target") said.textContent = "The network runs …";
    running = running.then(async () => {
      await new Promise((done) => setTimeout(done, 20)); // so that the words above are painted first
      if (act !== "method" && act !== "target") await measure();
      window.camwall.own.draw(act);
      root.dataset.shown = String(Number(root.dataset.shown ?? 0) + 1);
    });
    return running;
  }

  window.camwall.own = { maps: {}, scores: () => Array.from(now.scores), take };
  window.camwall.packed = {};
  const start = make("button", { type: "button", class: "lw-start" }, `Load the network (${data.size}) and start`);
  start.addEventListener("click", async () => {
    start.disabled = true;
    try {
      await load((text) => {
        said.textContent = text;
      });
      await build();
    } catch (error) {
      said.textContent = `This cannot be shown here: ${error.message}.`;
      start.disabled = false;
    }
  });
  root.append(start, said);
  root.hidden = false;
})();
