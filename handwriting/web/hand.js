// "A hand of your own": a reader writes letters, and the model's last layer is trained on them.

import { follow, pixels } from "./canvas.js";
import { interval, likeliest, trained } from "./head.js";
import { toForm } from "./ink.js";
import { createPad, glyph } from "./pad.js";
import { place, zipped } from "./zip.js";

const KEY = "course-hand"; // in the browser's own store
const TIMES = 5; // that each letter is written
const FIRST = ["அ", "இ", "க", "ண", "ழ", "ற"];
const language = globalThis.courseLanguage;
const say = (key, values) => language.say("hand", key, values);

/** Build all of it in `root`, for a model of letters, from `reader`. */
export function createHand(root, reader) {
  const { classes } = reader.card;
  const first = FIRST.filter((text) => classes.includes(text));
  const kept = remembered() ?? { letters: first.length ? first : classes.slice(0, 6), samples: [] };
  let full = false; // nothing more can be kept
  let number = 0; // of the task
  let said = null; // a key and values

  const about = make("p");
  const selects = kept.letters.map((_, slot) => {
    const select = make("select", { lang: "ta" });
    select.append(...classes.map((text, i) => new Option(`${text}  ${reader.transliterations[i]}`, text)));
    select.addEventListener("change", () => choose(slot, select.value));
    return select;
  });
  const letters = make("fieldset", { class: "hand-letters" });
  const legend = make("legend");
  letters.append(legend, ...selects);
  const padRoot = make("div", { class: "playground-pad" });
  const written = make("p");
  const rows = make("div", { class: "hand-rows" });
  const state = make("p", { role: "status" });
  const [trainButton, exportButton, deleteButton] = [train, download, forget].map((act) => {
    const button = make("button", { type: "button" });
    button.addEventListener("click", act);
    return button;
  });
  const buttons = make("div", { class: "hand-buttons" });
  buttons.append(trainButton, exportButton, deleteButton);
  const unzip = make("p", { class: "hand-note" });
  const result = make("div", { class: "hand-result" });
  let shares = null; // what training has found
  let run = 0; // the last training; another set of letters ends it
  let busy = false;
  root.append(about, letters, padRoot, written, rows, buttons, unzip, state, result);

  follow(padRoot);
  const pad = createPad(padRoot, {
    words: language.table,
    sources: [{ name: "", noun: "letter", labels: [] }],
    keeps: true,
    task: task(),
    async onDrawing(canvas, { number: drawing }) {
      const answer = await reader.answer(canvas);
      if (answer.error) {
        pad.show({ number: drawing, ...answer });
        return;
      }
      const label = wanted();
      kept.samples.push({ label, png: canvas.toDataURL("image/png"), read: answer.choices[0].text });
      changed();
    },
  });

  const of = (label) => kept.samples.filter((sample) => sample.label === label);
  const used = () => kept.letters.flatMap((label) => of(label).slice(0, TIMES));

  /** Return the letter to write next: the first of those that were written least. */
  function wanted() {
    const counts = kept.letters.map((label) => kept.samples.filter((one) => one.label === label).length);
    return kept.letters[counts.indexOf(Math.min(...counts))];
  }

  function task() {
    const text = wanted();
    const i = classes.indexOf(text);
    const now = kept.letters.flatMap((label) => kept.samples.filter((one) => one.label === label));
    const right = now.filter((one) => one.read === one.label).length;
    number += 1;
    return {
      number, text, right, done: now.length,
      transliteration: reader.transliterations[i], strokes: reader.strokes[i],
    };
  }

  function choose(slot, text) {
    const other = kept.letters.indexOf(text);
    if (other >= 0) kept.letters[other] = kept.letters[slot];
    kept.letters[slot] = text;
    changed();
  }

  function changed() {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
      full = false;
    } catch {
      full = true;
    }
    run += 1;
    shares = null;
    said = full ? ["full"] : null;
    pad.setTask(task());
    show();
  }

  function show() {
    const all = TIMES * kept.letters.length;
    const done = used().length;
    selects.forEach((select, slot) => (select.value = kept.letters[slot]));
    padRoot.hidden = done === all;
    written.textContent = `${say("kept", { done, all })} ${done === all ? say("written") : ""}`;
    rows.replaceChildren(...kept.letters.map(row));
    const few = kept.letters.some((label) => of(label).length < 2);
    trainButton.disabled = busy || few;
    exportButton.disabled = deleteButton.disabled = !kept.samples.length;
    if (few && !said) state.textContent = say("few");
    else state.textContent = said ? say(...said) : "";
    result.replaceChildren(...(shares ? [table(shares), make("p", {}, say("learn"))] : []));
  }

  function row(label) {
    const i = classes.indexOf(label);
    const line = make("div", { class: "hand-row" });
    line.append(glyph({ text: label, transliteration: reader.transliterations[i], strokes: reader.strokes[i] }));
    of(label).slice(0, TIMES).forEach((sample, k) => {
      const button = make("button", { type: "button", "aria-label": say("remove", { letter: label, number: k + 1 }) });
      button.append(make("img", { src: sample.png, alt: "" }));
      button.addEventListener("click", () => {
        kept.samples.splice(kept.samples.indexOf(sample), 1);
        changed();
        (rows.querySelector("button") ?? padRoot.querySelector("canvas")).focus(); // this one is gone
      });
      line.append(button);
    });
    return line;
  }

  // ------------------------------------------------------------------------------- training

  async function train() {
    const mine = ++run;
    busy = trainButton.disabled = true;
    try {
      const found = await measured(mine);
      if (found) [shares, said] = [found, ["trained"]];
    } catch (error) {
      if (mine === run) said = ["failed", { message: error.message }];
    }
    busy = false;
    show();
  }

  /**
   * Return how many letters were read rightly: {own, others}: {all, before, alone, mixed}; null if
   * letters were written or deleted meanwhile.
   */
  async function measured(mine) {
    const own = [];
    for (const label of kept.letters) {
      const samples = of(label).slice(0, TIMES);
      for (const [turn, sample] of samples.entries()) {
        const features = await reader.features(await normalised(sample.png));
        own.push({ features, label: classes.indexOf(label), turn });
      }
    }
    const known = new Set(own.map(({ label }) => label));
    const strangers = (await reader.others()).filter(({ label }) => !known.has(label));
    const reminders = strangers.filter(({ writer }) => writer === 0);
    const rest = strangers.filter(({ writer }) => writer > 0);
    const start = await reader.head();
    const right = (layer, samples) =>
      samples.filter(({ features, label }) => likeliest(layer, features) === label).length;
    const found = {
      own: { all: own.length, before: right(start, own), alone: 0, mixed: 0 },
      others: { all: rest.length, before: right(start, rest), alone: 0, mixed: 0 },
    };
    const turns = [...new Set(own.map(({ turn }) => turn)), null]; // at last nothing is held back
    for (const [i, turn] of turns.entries()) {
      const learned = own.filter((sample) => sample.turn !== turn);
      for (const [j, [way, others]] of [["alone", []], ["mixed", reminders]].entries()) {
        if (mine !== run) return null;
        said = ["training", { done: 2 * i + j + 1, all: 2 * turns.length }];
        state.textContent = say(...said);
        await new Promise((resolve) => setTimeout(resolve, 20)); // the page comes first
        if (mine !== run) return null;
        const layer = trained(start, learned, others);
        if (turn === null) found.others[way] = right(layer, rest);
        else found.own[way] += right(layer, own.filter((sample) => sample.turn === turn));
      }
    }
    return found;
  }

  async function normalised(png) {
    const image = new Image();
    image.src = png;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
    return toForm(pixels(canvas), reader.card).normalised;
  }

  function table(found) {
    const columns = ["before", "alone", "mixed"];
    const head = make("tr");
    head.append(make("td"), ...columns.map((key) => make("th", { scope: "col" }, say(key))));
    const lines = Object.entries(found).map(([whose, counts]) => {
      const line = make("tr");
      line.append(make("th", { scope: "row" }, say(whose)));
      for (const key of columns) {
        const [low, high] = interval(counts[key], counts.all).map((edge) => edge.toFixed(2));
        line.append(make("td", {}, say("share", { right: counts[key], all: counts.all, low, high })));
      }
      return line;
    });
    const whole = make("table");
    whole.append(make("caption", {}, say("caption")), head, ...lines);
    return whole;
  }

  // ---------------------------------------------------------------------- what is kept here

  function remembered() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY));
      return found?.letters.every((text) => classes.includes(text)) ? found : null;
    } catch {
      return null;
    }
  }

  async function download() {
    const files = [];
    for (const label of new Set(kept.samples.map((sample) => sample.label))) {
      for (const [i, { png }] of of(label).entries()) {
        const content = await (await fetch(png)).arrayBuffer();
        files.push([place(reader.card.form, label, i + 1), new Uint8Array(content)]);
      }
    }
    const url = URL.createObjectURL(new Blob([zipped(files)], { type: "application/zip" }));
    const link = make("a", { href: url, download: "mine.zip" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function forget() {
    kept.samples = [];
    changed();
    try {
      localStorage.removeItem(KEY);
    } catch {
      // nothing was kept
    }
  }

  language.follow((chosen) => {
    root.lang = chosen;
    about.textContent = say("about");
    legend.textContent = say("letters");
    selects.forEach((select, i) => select.setAttribute("aria-label", say("letter", { number: i + 1 })));
    trainButton.textContent = say("train");
    exportButton.textContent = say("export");
    deleteButton.textContent = say("delete");
    unzip.textContent = say("unzip");
    pad.speak(chosen);
    show();
  });
}

function make(name, attributes = {}, text = "") {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}
