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
  const pause = (time) => new Promise((done) => setTimeout(done, time));
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
  /** `shown` is what an example has on its visible side, `target` a class that was asked for. */
  const state = { side: 0, at: 160, paint: 0, target: null, shown: null, left: "GradCAM", right: "HiResCAM" };
  const wall = () => ({ ...SIDES[state.side], at: state.at });
  let base = null; // as photographed
  let now = null; // with what stands behind the wall now
  let seconds = 0;

  /** What the network finds of the photograph, painted so behind the wall; it runs if that is not at hand. */
  async function found(paint, last) {
    const of = [state.image, state.side, state.at, paint];
    if (last && of.every((value, i) => value === last.of[i])) return last;
    const image = paint ? painted(state.image, wall(), PAINTS[paints[paint]]) : state.image;
    const start = performance.now();
    const result = await pass(image, wall());
    seconds = (performance.now() - start) / 1000;
    return { ...result, of };
  }

  async function measure() {
    base = await found(0, base);
    now = state.paint ? await found(state.paint, now) : base;
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
    pen.fillStyle = "white"; // where it is transparent
    pen.fillRect(0, 0, side, side);
    const { width, height } = bitmap;
    const exact = width === side && height === side;
    const cut = Math.min(width, height) * (exact ? 1 : data.cut);
    pen.drawImage(bitmap, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, side, side);
    bitmap.close();
    const image = inputs(pen.getImageData(0, 0, side, side));
    const middle = width === height ? "" : "the middle of ";
    const size = exact ? "unchanged" : `made from ${middle}${width} × ${height} pixels`;
    Object.assign(state, { image, size, paint: 0, target: null, shown: null }, where);
    await update("picture");
  }

  async function chosen(file) {
    const what = file?.name ? `«${file.name}»` : "What was dropped";
    if (!network.maps) said.textContent = "Load the network first, then drop the photograph once more.";
    else if (!file) said.textContent = `${what} is no file: save the picture, then choose it.`;
    else {
      said.textContent = `Reading ${what} …`;
      await take(file).catch(() => {
        said.textContent = `${what} is no picture that this browser can open: JPEG, PNG and WebP are.`;
      });
    }
  }

  for (const kind of ["dragover", "drop"]) {
    root.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "drop") chosen(event.dataTransfer.files[0]);
    });
  }

  function build() {
    const fetched = async (i) => {
      const { axis, at } = examples[i];
      const picture = await fetch(examples[i].source);
      const where = { side: SIDES.findIndex((one) => one.axis === axis && !one.first), at };
      await take(await picture.blob(), { ...where, shown: examples[i] });
    };
    const picker = (text, more) => {
      const input = make("input", {
        type: "file",
        accept: "image/*",
        ...more,
        onchange: async () => {
          if (!input.files.length) return; // the choice was called off
          await chosen(input.files[0]);
          input.value = ""; // so that the same file can be chosen again
        },
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

    const photo = plate(...["before", "after"].map((place) => make("span", { class: `lw-tag lw-${place}` })));
    const sides = make(
      "select",
      {
        "aria-label": "Which part is hidden",
        onchange: () => {
          const turned = SIDES[state.side].first !== SIDES[sides.value].first;
          state.side = Number(sides.value);
          place(turned ? side - state.at : state.at); // as much is hidden as before
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
      const line = axis ? "column" : "row";
      const hidden = from === to ? `${line} ${to} of ${side} is` : `${line}s ${from} to ${to} of ${side} are`;
      rangeText.textContent = `${hidden} hidden`;
      range.setAttribute("aria-valuetext", rangeText.textContent);
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
      state.target = target.selectedIndex ? Number(target.value) : null;
      update("target");
    });
    const frozen = make("p", { class: "lw-frozen" });
    const size = make("span");
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
        "Leak: the share of a map’s norm that lies behind the wall. Interpolation carries a little across from the " +
          "last visible cells; that is all of HiResCAM’s and LayerCAM’s. Response: how far repainting the hidden " +
          "pixels moves the raw map, in units of its norm; here with the one repaint that is chosen.",
      ),
      make("p", { class: "lw-hint" }, "The photograph as the network takes it, ", size, ": ", save, "."),
    );
    place(state.at);
    root.querySelector("input").focus({ preventScroll: true }); // the button to start is gone

    /** Draw what was found. */
    window.camwall.own.draw = (act) => {
      const top = Array.from(now.scores.keys()).sort((a, b) => now.scores[b] - now.scores[a]).slice(0, 5);
      const explains = state.target ?? top[0];
      const sum = now.scores.reduce((all, score) => all + Math.exp(score - now.scores[top[0]]), 0);
      const share = (unit) => Math.exp(now.scores[unit] - now.scores[top[0]]) / sum;
      scoreTable.fill(top.map((unit) => [network.names[unit], share(unit), now.scores[unit].toPrecision(7)]));
      target.replaceChildren(
        ...[...new Set([...top, explains])].map((unit) =>
          make("option", { value: unit, selected: unit === explains }, `Explain: ${network.names[unit]}`),
        ),
      );
      const before = explained(base, explains);
      const after = explained(now, explains);
      const pixels = shown(now.image);
      put(photo, pixels);
      const behind = paints[state.paint];
      name(photo, `The photograph, ${SIDES[state.side].text} hidden, there: ${behind}.`);
      swap.querySelectorAll("input")[state.paint].checked = true;
      pictures.querySelectorAll("input").forEach((input, i) => {
        input.checked = examples[i] === state.shown;
      });
      sides.value = state.side;
      place(state.at);
      size.textContent = state.size;
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
        name(node, `Map for ${network.names[explains]} of ${text}`);
        return text;
      });
      all.querySelectorAll(".lw-card").forEach((node) => {
        show(node, node.dataset.method);
        node.setAttribute("aria-pressed", String(node.dataset.method === state.right));
      });

      // In words
      const one = (unit) => `${network.names[unit]}, ${percent(share(unit))}`;
      const { shown: example } = state;
      const known = example && network.names[example.label] !== example.name ? ` (${network.names[example.label]})` : "";
      const verdict = !example
        ? ""
        : example.label === top[0]
          ? " The answer is right."
          : ` That is wrong: it is a ${example.name}${known}, which has ${percent(share(example.label))}.`;
      const differ = `${moved()} of ${now.scores.length} scores`;
      const first = {
        paint: state.paint
          ? `Behind the wall now: ${behind}. The network ran again, and ${differ} changed (${one(top[0])}).`
          : `Behind the wall again what was photographed (${one(top[0])}).`,
        wall:
          `The wall has moved, so the network sees something else. It answers ${one(top[0])}.${verdict}` +
          (state.paint ? ` It ran with ${behind} behind the wall too: ${differ} changed by that.` : ""),
        picture:
          `The network answers ${one(top[0])}, whatever is painted behind the wall.${verdict} ` +
          `It took ${seconds.toFixed(2)} s for two passes, on one thread.`,
      };
      const which = explains === top[0] ? network.names[explains] : one(explains);
      said.textContent = [first[act] ?? "", `The maps explain the class ${which}.`, ...numbers].join(" ").trim();
      frozen.textContent = state.paint
        ? `Run again: ${differ} differ, in any bit, from those as photographed.`
        : "Put something else behind the wall: the network runs again.";
      Object.assign(root.dataset, { seconds, moved: moved(), at: now.wall.at, explains });
    };
    return fetched(0);
  }

  let running = Promise.resolve();
  let latest = 0;
  /** One act after the other; only the last that was asked for is drawn. */
  function update(act) {
    latest += 1;
    const turn = latest;
    if (act !== "method" && act !== "target") said.textContent = "The network runs …";
    running = running.then(async () => {
      await pause(20); // so that the words above are painted first
      if (turn !== latest) return;
      try {
        await measure();
        if (turn !== latest) return;
        window.camwall.own.draw(act);
      } catch (error) {
        said.textContent = `The network could not run here: ${error.message}.`;
      }
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
