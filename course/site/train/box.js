// The box "Train it here": controls, charts, pictures of weights, and a pad that the network reads.

import { follow, pixels, seen } from "../../playground/canvas.js";
import { InkError, toForm } from "../../playground/ink.js";
import { createPad } from "../../playground/pad.js";
import { createChart } from "./chart.js";
import { createUnits } from "./units.js";

const language = globalThis.courseLanguage; // a script that the page has loaded before
const say = (key, values) => language.say("box", key, values);
const SIDE = 28;
const FORM = { form: "mnist", side: SIDE, proportions: "kept" };
const FARTHEST = 8; // pixels that a drawing can be shifted
const AGAIN = 2000; // milliseconds after which a drawing is read again while training goes on
const SEQUENCES = ["shuffled", "same", "sorted"];
const number = (value) => value.toLocaleString("en");

/**
 * Fill a box, an opened `<details data-chapter="...">`; return a promise of what ends its work.
 *
 * @param {HTMLElement} details
 * @param {object?} files where each file is, by its name; without, where the site has them.
 */
export async function open(details, files) {
  const place = (name) => files?.[name.split("/").pop()] ?? new URL(name, import.meta.url).href;
  const root = make("div", { class: "train-box" });
  details.append(root);
  root.append(make("p", { class: "train-state", role: "status" }, say("loading")));
  for (const name of ["../../playground/pad.css", "box.css"]) {
    document.head.append(make("link", { rel: "stylesheet", href: place(name) }));
  }
  const response = await fetch(place("about.json"));
  if (!response.ok) throw new Error(`about.json: HTTP status ${response.status}`);
  const { digits, boxes } = await response.json();
  const { chapter } = details.dataset;
  const worker = new Worker(place("worker.js"), { type: "module" });
  fill(root, { box: boxes[chapter], digits, worker });
  const rest = () => worker.postMessage({ order: "pause" });
  details.addEventListener("toggle", () => details.open || rest());
  addEventListener("pagehide", rest);
  worker.postMessage({ order: "open", chapter, files });
  return () => worker.terminate();
}

function fill(root, { box, digits, worker }) {
  const order = (name, more) => worker.postMessage({ order: name, ...more });
  const run = { seen: 0, loss: null, right: 0, going: false, ready: false, begun: false, ended: false };
  let network = box.networks.find((one) => one.hidden === (box.chosen ?? 0));

  const controls = createControls(box, {
    rate: (rate) => order("set", { rate }),
    sequence: (sequence) => order("set", { sequence }),
    hidden(hidden) {
      network = box.networks.find((one) => one.hidden === hidden);
      again("choose", { hidden });
      units = newUnits();
    },
    start: () => go(!run.going),
    step: () => order("step"),
    reset: () => again("reset"),
  });
  const state = make("p", { class: "train-state" });
  const spoken = make("p", { class: "nbh-hidden", role: "status" });
  const charts = make("div", { class: "train-charts" });
  const chart = createChart(charts, {
    least: box.batch,
    most: box.curve.points.at(-1)[0],
    committed: box.curve.points,
  });
  const pictures = make("div", { class: "train-units", "data-side": box.shown.side });
  const alive = make("p", { class: "train-alive" });
  const newUnits = () => {
    const count = Math.min(box.shown.count, network.weights[0].shape[0]);
    const captions = count === 10 && !network.hidden ? [..."0123456789"] : [];
    pictures.dataset.count = count;
    return createUnits(pictures, { count, side: box.shown.side }, captions);
  };
  let units = newUnits();
  const pad = createReader(order);
  const { legend, nameLegend } = createLegend(box.curve.name);
  const found = make("summary", {});
  const [question, answer] = [make("p", {}), make("p", {})];
  const what = make("p", { class: "train-caption" });
  root.replaceChildren(
    question,
    ...(digits.banner ? [make("p", { class: "train-banner", lang: "en" }, digits.banner)] : []),
    controls.root, state, spoken, charts, legend, what, pictures, alive,
    pad.root, make("details", {}, found, answer),
  );
  pad.begin();

  function go(going) {
    order(going ? "run" : "pause"); // it has paused when the worker says so
    run.going = true;
    controls.show(run);
  }
  function again(name, more) {
    run.going = false;
    Object.assign(run, { seen: 0, loss: null, ended: true });
    chart.restart();
    controls.show(run);
    order(name, more);
  }
  let fault = null; // a key, and values
  function tell(wrong = null) {
    fault = wrong;
    if (fault) state.textContent = say(...fault);
    else if (!run.begun) state.textContent = say("loading");
    else {
      const loss = run.loss === null ? "–" : run.loss.toFixed(3);
      const epoch = (run.seen / digits.train).toFixed(1);
      state.textContent = say("state", { epoch, loss, right: number(run.right), total: number(total()) });
    }
  }
  const total = () => Math.floor(digits.validation / box.batch) * box.batch;

  const told = {
    opened() {
      run.ready = true;
      controls.show(run);
    },
    losses({ points }) {
      if (run.ended) return; // they are of the run before
      for (const [seen, loss] of points) chart.loss(seen, loss);
      if (points.length) [run.seen, run.loss] = points.at(-1);
      tell();
    },
    validated({ seen, accuracy, most, first }) {
      if (run.ended && seen) return;
      run.ended = false;
      run.right = Math.round(accuracy * total());
      run.begun = true;
      if (seen) chart.accuracy(seen, accuracy);
      const hidden = network.weights.length > 2;
      units(first, hidden ? most : null);
      living = hidden ? { all: most.length, alive: most.filter((value) => value > 0).length } : null;
      count();
      tell();
      if (seen % digits.train === 0) speak();
      pad.readAgain(false);
    },
    paused() {
      run.going = false;
      controls.show(run);
      speak();
      pad.readAgain(true);
    },
    read: (answer) => pad.answered(answer),
    failed({ message }) {
      Object.assign(run, { going: false, ready: message === "overflow" });
      controls.show(run);
      tell(message === "overflow" ? ["overflow"] : ["failed", { message }]);
      spoken.textContent = state.textContent;
    },
  };
  let living = null; // {all, alive}: of the hidden units
  function count() {
    const values = living && { ...living, dead: living.all - living.alive };
    alive.textContent = living ? say(`alive_${box.shown.units}`, values) : "";
  }
  function describe() {
    const committed = box.curve.points.at(-1)[1];
    chart.describe(say("described", { ...run, total: total(), digits: number(run.seen), committed }));
  }
  function speak() {
    spoken.textContent = state.textContent;
    describe();
  }
  language.follow((chosen) => {
    root.lang = chosen;
    question.textContent = box.question[chosen];
    what.textContent = box.what[chosen];
    answer.textContent = box.found[chosen];
    controls.name();
    controls.show(run);
    chart.name({ loss: say("loss"), accuracy: say("accuracy"), digits: say("digits") });
    nameLegend();
    found.textContent = say("found");
    tell(fault);
    count();
    if (run.seen) describe();
    pad.speak(chosen);
  });
  worker.onmessage = ({ data }) => told[data.what](data);
  worker.onerror = (event) => told.failed({ message: event.message ?? event.type });
}

// --------------------------------------------------------------------------------------- controls

function createControls(box, on) {
  const [low, high] = box.rates.map(Math.log10);
  const rate = make("input", { type: "range", min: low, max: high, step: 0.05 });
  rate.value = Math.log10(box.rate);
  const shown = make("b", {});
  const value = () => Number((10 ** rate.value).toPrecision(2));
  const show = () => {
    shown.textContent = value();
    rate.setAttribute("aria-valuetext", value());
  };
  rate.addEventListener("input", () => {
    show();
    on.rate(value());
  });
  show();
  const sequence = choice(SEQUENCES.map((key) => [key, ""]), "shuffled", on.sequence);
  const sizes = box.networks.map(({ hidden }) => [hidden, hidden]);
  const hidden = choice(sizes, box.chosen, (size) => on.hidden(Number(size)));
  const start = button(on.start, "first");
  const step = button(on.step);
  const reset = button(on.reset);
  const [rateText, sequenceText, hiddenText] = ["", "", ""].map(() => make("span", {}));
  const root = make("div", { class: "train-controls" });
  root.append(
    make("label", { class: "train-rate" }, make("span", {}, rateText, " ", shown), rate),
    make("label", {}, sequenceText, sequence),
    ...(sizes.length > 1 ? [make("label", {}, hiddenText, hidden)] : []),
    make("div", { class: "train-buttons" }, start, step, reset),
  );
  function update({ going, ready }) {
    start.textContent = say(going ? "pause" : "start");
    for (const one of [start, reset]) one.disabled = !ready;
    step.disabled = going || !ready;
    hidden.disabled = !ready;
  }
  function name() {
    const named = [[rateText, "rate"], [sequenceText, "sequence"], [hiddenText, "hidden"]];
    for (const [element, key] of [...named, [step, "step"], [reset, "reset"]]) {
      element.textContent = say(key);
    }
    for (const one of sequence.options) one.textContent = say(`sequence_${one.value}`);
  }
  update({ going: false, ready: false });
  return { root, show: update, name };
}

function choice(options, chosen, act) {
  const select = make("select", {});
  for (const [value, text] of options) select.append(make("option", { value }, String(text)));
  if (chosen !== undefined) select.value = chosen;
  select.addEventListener("change", () => act(select.value));
  return select;
}

function button(act, name) {
  const element = make("button", { type: "button", class: name ?? "" });
  element.addEventListener("click", act);
  return element;
}

function createLegend(committed) {
  const texts = Object.fromEntries(["own", "earlier", "committed"].map((key) => [key, make("span", {})]));
  const legend = make("ul", { class: "train-legend" });
  for (const [name, text] of Object.entries(texts)) {
    legend.append(make("li", {}, make("i", { class: name }), text));
  }
  const nameLegend = () => {
    for (const [key, text] of Object.entries(texts)) text.textContent = say(key, { name: committed });
  };
  return { legend, nameLegend };
}

// ---------------------------------------------------------------------------------------- drawing

/** Build the pad whose drawings the network reads: {root, begin, speak, answered, readAgain}. */
function createReader(order) {
  const root = make("div", { class: "train-pad" });
  const shift = make("input", { type: "range", min: -FARTHEST, max: FARTHEST, step: 1, value: 0 });
  const shown = make("b", {});
  const [draw, drawing, shiftText] = ["strong", "span", "span"].map((tag) => make(tag, {}));
  let drawn = null; // {image, number}
  let asked = 0; // when the network was asked last
  let pad;

  function ask() {
    if (!drawn) return;
    asked = performance.now();
    order("read", { image: shifted(drawn.image, Number(shift.value)), id: drawn.number });
  }
  shift.addEventListener("input", () => {
    nameShift();
    ask();
  });
  function nameShift() {
    const right = Number(shift.value);
    const key = right ? (right > 0 ? "shift_right" : "shift_left") : "shift_none";
    shown.textContent = say(key, { pixels: Math.abs(right) });
    shift.setAttribute("aria-valuetext", shown.textContent);
  }

  function begin() {
    root.append(make("p", { class: "train-caption" }, draw, ". ", drawing));
    follow(root);
    pad = createPad(root, {
      words: language.table,
      sources: [{ name: "", noun: "digit", labels: [] }],
      silence: "silence_network",
      patience: 8000,
      onDrawing(canvas, { number }) {
        try {
          drawn = { image: toForm(pixels(canvas), FORM).normalised.data, number };
          ask();
        } catch (error) {
          drawn = null;
          if (!(error instanceof InkError)) throw error;
          pad.show({ number, error: error.message });
        }
      },
    });
    const label = make("span", {}, shiftText, ": ", shown);
    root.append(make("label", { class: "train-shift" }, label, shift));
  }
  function speak(chosen) {
    pad.speak(chosen);
    const named = [[draw, "draw"], [drawing, "drawing"], [shiftText, "shift"]];
    for (const [element, key] of named) element.textContent = say(key);
    nameShift();
  }

  function answered({ logits, id }) {
    if (id !== drawn?.number) return;
    const shares = softmax(logits);
    const choices = Array.from(shares, (probability, digit) => ({ text: String(digit), transliteration: "", probability }));
    choices.sort((a, b) => b.probability - a.probability);
    const data = shifted(drawn.image, Number(shift.value));
    const sure = choices[0].probability >= 0.5;
    const picture = seen({ width: SIDE, height: SIDE, data });
    pad.show({ number: id, sure, choices: choices.slice(0, 5), seen: picture, side: SIDE });
  }
  const readAgain = (now) => (now || performance.now() - asked > AGAIN) && ask();
  return { root, begin, speak, answered, readAgain };
}

function shifted(image, right) {
  const moved = new Uint8Array(image.length);
  image.forEach((ink, i) => {
    const column = (i % SIDE) + right;
    if (column >= 0 && column < SIDE) moved[i + right] = ink;
  });
  return moved;
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
