// "Learn to write it": the strokes of a letter are drawn one after the other, traced, and written.

import { follow } from "./canvas.js";
import { createPad, SIDE } from "./pad.js";

const LARGEST = 200; // of a letter, in units of the paper
const SPEED = 0.15; // of the pen that is watched, in units of the paper a millisecond
const PAUSE = 350; // between two strokes, in milliseconds
const SPACE = "http://www.w3.org/2000/svg";
const language = globalThis.courseLanguage;
const say = (key, values) => language.say("learn", key, values);

/** Build it in `root`, for a model of letters, from `reader`. */
export function createLearn(root, reader) {
  const { classes } = reader.card;
  let letter = 0;
  let stage = "watch";
  let [number, right, done] = [0, 0, 0]; // tasks, and what was read of them
  let checked = false; // only the first reading of a task counts

  const about = make("p");
  const select = make("select", { lang: "ta" });
  select.append(...classes.map((text, i) => new Option(`${text}  ${reader.transliterations[i]}`, i)));
  select.addEventListener("change", () => ask(Number(select.value)));
  const named = make("span");
  const label = make("label");
  label.append(named, " ", select);
  const stages = make("div", { class: "hand-buttons", role: "group" });
  const buttons = ["watch", "trace", "alone"].map((name) => {
    const button = make("button", { type: "button", name });
    button.addEventListener("click", () => enter(name));
    return button;
  });
  stages.append(label, ...buttons);
  const padRoot = make("div", { class: "playground-pad" });
  root.append(about, stages, padRoot);
  follow(padRoot);
  const pad = createPad(padRoot, {
    words: language.table,
    sources: [{ name: "", noun: "letter", labels: [] }],
    task: task(),
    onNext: () => ask((letter + 1) % classes.length),
    async onDrawing(canvas, { number: drawing }) {
      const answer = await reader.answer(canvas);
      pad.show({ number: drawing, ...answer });
      if (answer.error || checked) return;
      checked = true;
      done += 1;
      right += answer.choices[0].text === classes[letter];
      pad.setTask(task(false));
    },
  });

  function task(another = true) {
    if (another) {
      number += 1;
      checked = false;
    }
    const [text, transliteration] = [classes[letter], reader.transliterations[letter]];
    return { number, text, transliteration, strokes: reader.strokes[letter], right, done };
  }

  function ask(next) {
    letter = next;
    select.value = letter;
    pad.setTask(task());
    enter("watch");
  }

  function enter(next) {
    stage = next;
    for (const button of buttons) button.setAttribute("aria-pressed", button.name === stage);
    guide();
  }

  /** Lay over the paper what the stage shows: a letter being written, a pale one, or nothing. */
  function guide() {
    const still = stage === "trace" || matchMedia("(prefers-reduced-motion: reduce)").matches;
    pad.guide(stage === "alone" ? null : drawn(reader.strokes[letter], stage, still));
  }

  function drawn(strokes, name, still) {
    const svg = draw("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, class: `learn-${name}`, role: "img" });
    svg.setAttribute("aria-label", say("strokes", { letter: classes[letter], count: strokes.length }));
    let start = 0;
    placed(strokes).forEach((points, i) => {
      const whole = points.length > 1 ? points : [points[0], points[0]]; // a round cap is the dot
      const line = draw("path", { d: `M${whole.map((point) => point.join(" ")).join("L")}` });
      const [x, y] = points[0];
      const mark = draw("circle", { cx: x, cy: y, r: 9 });
      const count = draw("text", { x, y: y + 4 });
      count.textContent = i + 1;
      svg.append(line, mark, count);
      if (still) return;
      const duration = Math.max(200, line.getTotalLength() / SPEED);
      const length = line.getTotalLength() + 1;
      line.style.strokeDasharray = points.length > 1 ? length : "none";
      const about = { delay: start, duration, fill: "both" };
      line.animate({ strokeDashoffset: [length, 0], visibility: ["visible", "visible"] }, about);
      for (const one of [line, mark, count]) {
        one.animate({ opacity: [0, 1] }, { delay: start, duration: 1, fill: "both" });
      }
      start += duration + PAUSE;
    });
    return svg;
  }

  select.value = letter;
  language.follow((chosen) => {
    root.lang = chosen;
    about.textContent = say("about");
    named.textContent = say("letter");
    for (const button of buttons) button.textContent = say(button.name);
    pad.speak(chosen);
    enter(stage);
  });
}

/** Return strokes in units of the paper, in its middle. */
function placed(strokes) {
  const all = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => all.map((point) => point[axis]));
  const low = [Math.min(...xs), Math.min(...ys)];
  const size = [Math.max(...xs) - low[0], Math.max(...ys) - low[1]];
  const scale = LARGEST / Math.max(...size, 1);
  const at = (point) => point.map((value, axis) => (SIDE - scale * size[axis]) / 2 + scale * (value - low[axis]));
  return strokes.map((stroke) => stroke.map(at));
}

function draw(name, attributes) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function make(name, attributes = {}) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
