/* The theorem to play with: its closed forms, networks drawn at random, and one of them looked at. */
(() => {
  "use strict";
  const root = document.getElementById("playground");
  if (!root) return;
  const data = JSON.parse(root.querySelector("script").textContent);
  const { side, pooled, kernel, tau, digit } = data;
  const positions = side * side;
  const { make, put, name, hint, percent, stand } = window.camwall;
  const { leak, render, overlaid, plate } = window.camwall.drawn({ ...data, grid: [side, side] });
  const MOST = 40000; // networks, after which the mean stands still
  const COUNTS = [...new Set(Array.from({ length: 33 }, (_, i) => Math.round(2 ** (i / 4))))]; // of filters

  // -- the law

  /** E[χ_K] for K ~ Binomial(V, 1/2), from E[χ_1] = √(2/π) and E[χ_k] E[χ_{k+1}] = k. */
  function reluNorm(filters) {
    let chi = Math.sqrt(2 / Math.PI);
    let weight = Math.log(filters) - filters * Math.LN2; // of k = 1, as a logarithm
    let mean = 0;
    for (let k = 1; k <= filters; k += 1) {
      mean += Math.exp(weight) * chi;
      chi = k / chi;
      weight += Math.log((filters - k) / (k + 1));
    }
    return mean;
  }

  function law({ filters, rows, norm }) {
    const visible = rows * pooled;
    const scale = (tau * tau * norm * Math.sqrt(visible)) / positions;
    return {
      scale,
      mean: (scale * reluNorm(filters)) / Math.sqrt(2 * Math.PI),
      bound: (((filters - 20) / Math.sqrt(filters)) * scale) / Math.sqrt(8 * Math.PI),
      positive: (1 - 0.5 ** filters) / 2,
      second: (scale * scale * filters) / 4,
    };
  }

  let spare = null;
  function normal() {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    const angle = 2 * Math.PI * Math.random();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** GradCAM at the position in one network: each channel's sum of head weights, and its answer to the patch. */
  function draw(filters, scale) {
    let sum = 0;
    for (let v = 0; v < filters; v += 1) sum += normal() * Math.max(0, normal());
    return Math.max(0, scale * sum);
  }

  /** GradCAM's raw map of one network on the digit. */
  function oneMap({ filters, rows }) {
    const raw = new Float64Array(positions);
    const spread = (tau * Math.sqrt(rows * pooled)) / positions;
    for (let v = 0; v < filters; v += 1) {
      const alpha = spread * normal();
      const filter = Array.from({ length: kernel * kernel }, () => tau * normal());
      for (let p = 0; p < positions; p += 1) {
        const [row, column] = [Math.floor(p / side), p % side];
        let answer = 0;
        filter.forEach((weight, i) => {
          answer += weight * digit[row + Math.floor(i / kernel)][column + (i % kernel)];
        });
        raw[p] += alpha * Math.max(0, answer);
      }
    }
    return raw.map((value) => Math.max(0, value));
  }

  // -- the page

  const state = { filters: 64, rows: pooled / 2, norm: 1 };
  const tally = { count: 0, sum: 0, squares: 0, lit: 0 };
  const wall = () => ({ axis: 0, at: 2 * state.rows });

  function slider(key, label, at, text, options) {
    const input = make("input", { type: "range", id: `tp-${key}`, ...options });
    const output = make("output", { for: `tp-${key}` });
    const show = () => {
      state[key] = at(Number(input.value));
      output.textContent = text();
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      show();
      restart(key !== "norm");
    });
    show();
    return make("div", { class: "lw-range" }, make("label", { for: `tp-${key}` }, label), input, output);
  }
  const sliders = make(
    "div",
    { class: "tp-sliders" },
    slider("filters", "Filters", (place) => COUNTS[place], () => `V = ${state.filters}`, {
      min: 0, max: COUNTS.length - 1, step: 1, value: COUNTS.indexOf(state.filters),
    }),
    slider("rows", "Wall", Number, () => `${state.rows} of ${pooled} rows of pooled cells are read, n = ${state.rows * pooled}`, {
      min: 1, max: pooled - 1, step: 1, value: pooled / 2,
    }),
    slider("norm", "Patch norm", Number, () => `‖m‖ = ${state.norm.toFixed(1)}`, { min: 0.1, max: 3, step: 0.1, value: 1 }),
  );

  const picture = plate(make("span", { class: "lw-tag lw-after" }));
  const map = plate();
  const told = make("p", { class: "lw-values", role: "status" });
  const again = make("button", { type: "button", class: "lw-start", onclick: () => look() }, "Draw another network");
  const grey = new ImageData(side, side);
  for (let p = 0; p < positions; p += 1) {
    const margin = (digit.length - side) / 2;
    const value = 255 * digit[Math.floor(p / side) + margin][(p % side) + margin];
    grey.data.set([value, value, value, 255], 4 * p);
  }

  function look() {
    const raw = oneMap(state);
    const shown = render(raw);
    const share = leak(shown, wall());
    put(map, overlaid(grey, shown));
    const empty = raw.every((value) => value === 0);
    told.textContent = empty ? "Its map is empty: nowhere above 0." : `Its leak: ${percent(share)}.`;
    name(map, `GradCAM of one random network. ${told.textContent}`);
    root.dataset.leak = share;
  }

  const NUMBERS = {
    mean: "exact mean",
    bound: "the paper’s bound",
    drawn: "mean of the networks drawn",
    positive: "probability of light, exact",
    lit: "share of the networks that are lit",
  };
  const values = Object.fromEntries(Object.keys(NUMBERS).map((key) => [key, make("td", { class: `tp-${key}` })]));
  const table = make(
    "table",
    {},
    make("caption", {}, "GradCAM at a hidden position"),
    make("tbody", {}, ...Object.entries(NUMBERS).map(([key, text]) => make("tr", {}, make("th", { scope: "row" }, text), values[key]))),
  );

  // The chart: the mean over the number of filters.
  const [WIDE, HIGH, LEFT, LOW] = [420, 240, 44, 34];
  const svg = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const chart = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", class: "tp-chart" });

  // Numbers: small ones in powers of ten, which are superscripts.
  const power = (exponent) => `10${String(exponent).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)])}`;
  const order = (value) => Math.floor(Math.log10(Math.abs(value)));
  function number(value, digits = 3) {
    const exponent = order(value);
    const text =
      exponent < -3 ? `${(value / 10 ** exponent).toPrecision(digits)}\u00a0·\u00a0${power(exponent)}` : value.toPrecision(digits);
    return text.replace("-", "−");
  }

  function plot() {
    const counts = Array.from({ length: 65 }, (_, i) => 2 ** (i / 8)).map(Math.round);
    const laws = counts.map((filters) => law({ ...state, filters }));
    const most = Math.max(...laws.map((one) => one.mean));
    const top = 1.1 * most;
    const unit = order(most);
    const x = (filters) => LEFT + ((WIDE - LEFT - 16) * Math.log2(filters)) / 8;
    const y = (value) => HIGH - LOW - ((HIGH - LOW - 22) * value) / top;
    const line = (key) =>
      laws
        .map((one, i) => [x(counts[i]), y(one[key]), one[key] >= 0])
        .filter(([, , on]) => on)
        .map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`)
        .join(" ");
    const parts = [
      svg("line", { x1: LEFT, x2: WIDE - 10, y1: y(0), y2: y(0), class: "tp-axis" }),
      svg("line", { x1: LEFT, x2: LEFT, y1: y(0), y2: 14, class: "tp-axis" }),
      svg("text", { x: LEFT, y: 10, class: "tp-label" }, `mean of GradCAM, in units of ${power(unit)}`),
      svg("text", { x: WIDE - 10, y: HIGH - 3, "text-anchor": "end", class: "tp-label" }, "filters V"),
      ...[0, 2, 4, 6, 8].map((e) =>
        svg("text", { x: x(2 ** e), y: HIGH - LOW + 15, "text-anchor": "middle" }, String(2 ** e)),
      ),
      ...[0, most / 2, most].map((value) =>
        svg("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, value ? (value / 10 ** unit).toPrecision(3) : "0"),
      ),
      svg("polyline", { points: line("mean"), class: "tp-line" }),
      svg("polyline", { points: line("bound"), class: "tp-line tp-dashed" }),
      svg("text", { x: x(64), y: y(law({ ...state, filters: 64 }).mean) - 14, "text-anchor": "end" }, "exact mean"),
      svg("text", { x: x(128) + 8, y: y(law({ ...state, filters: 128 }).bound) + 16 }, "bound"),
    ];
    if (tally.count > 1) {
      const { mean, error } = estimate();
      const at = x(state.filters);
      parts.push(
        svg("line", { x1: at, x2: at, y1: y(mean - 2 * error), y2: y(mean + 2 * error), class: "tp-bar" }),
        svg("circle", { cx: at, cy: y(mean), r: 4.5, class: "tp-dot" }),
      );
    }
    chart.replaceChildren(...parts);
  }

  const estimate = () => {
    const mean = tally.sum / tally.count;
    return { mean, error: Math.sqrt(Math.max(0, tally.squares / tally.count - mean * mean) / tally.count) };
  };

  function fill() {
    const exact = law(state);
    values.mean.textContent = number(exact.mean);
    values.bound.textContent = exact.bound > 0 ? number(exact.bound) : "not above 0: it says nothing";
    values.positive.textContent = percent(exact.positive);
    if (tally.count > 1) {
      const { mean, error } = estimate();
      const off = error ? Math.abs(mean - exact.mean) / error : 0;
      values.drawn.textContent = `${number(mean)}, ${off.toFixed(1)} standard errors from exact`;
      values.lit.textContent = `${percent(tally.lit / tally.count)} of ${tally.count.toLocaleString("en")}`;
      Object.assign(root.dataset, { drawn: mean, error });
    }
    Object.assign(root.dataset, exact, { count: tally.count, filters: state.filters });
    chart.setAttribute(
      "aria-label",
      `Mean of GradCAM over the number of filters: at V = ${state.filters} exact ${values.mean.textContent}, bound ` +
        `${values.bound.textContent}. The exact curve lies above the bound everywhere.`,
    );
    plot();
  }

  let running = false;
  function step() {
    const end = performance.now() + 10;
    const { scale } = law(state);
    while (performance.now() < end && tally.count < MOST) {
      for (let i = 0; i < 50; i += 1) {
        const value = draw(state.filters, scale);
        tally.count += 1;
        tally.sum += value;
        tally.squares += value * value;
        tally.lit += value > 0;
      }
    }
    fill();
    running = tally.count < MOST;
    if (running) requestAnimationFrame(step);
  }

  function restart(anew) {
    Object.assign(tally, { count: 0, sum: 0, squares: 0, lit: 0 });
    root.dataset.count = 0;
    stand([frame], wall(), side);
    // The picture lacks the image's border: its row r is row r + (kernel − 1)/2, and a cell reads as far below itself.
    stand([picture], { ...wall(), at: wall().at + (kernel - 1) / 2 }, side);
    if (anew) look();
    if (!running) {
      running = true;
      requestAnimationFrame(step);
    }
  }

  const panel = (title, ...parts) => make("div", { class: "lw-panel" }, make("p", { class: "lw-title" }, title), ...parts);
  const frame = make(
    "div",
    { class: "tp-frame tp-pictures" },
    panel("A digit, and the wall", picture),
    panel("GradCAM of one random network", map, told, again),
  );
  root.append(
    sliders,
    hint(
      "The patch norm is that of the one position that the numbers below are of; the map of a single network is of the " +
        "digit, whose patches have their own norms.",
    ),
    frame,
    make("div", { class: "tp-frame" }, make("div", {}, chart), make("div", { class: "tp-table" }, table)),
  );
  put(picture, grey);
  name(picture, "A digit of 30 × 30 pixels; its lower part is hidden from the network.");
  root.hidden = false;
  restart(true);
})();
