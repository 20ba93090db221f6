// The playground page: the drawing pad, and the models that read it.

import { follow, pixels } from "./canvas.js";
import table from "./forms.js";
import { createHand } from "./hand.js";
import { createLearn } from "./learn.js";
import { createPad, PICTURE } from "./pad.js";
import { reader } from "./reader.js";

const MODELS = [
  { name: "lenet", shown: "digits", chapter: 5 },
  { name: "compact_cnn", shown: "letters", chapter: 7 },
];
const language = globalThis.courseLanguage; // a script that stands before this one
const say = (key, values) => language.say("page", key, values);

/** Build the page in `root`; what the models are is told in `about`, a list. */
export async function build(root, about) {
  const readers = await Promise.all(MODELS.map(({ name }) => reader(name)));
  follow(root);
  root.replaceChildren();
  const pad = createPad(root, {
    words: language.table,
    sources: readers.map((reader) => ({
      name: "", // `speak` says it
      noun: noun(reader),
      labels: reader.card.classes.map((text) => [text, ""]), // of Keep, which is not here
    })),
    pictures: true,
    silence: "silence_model",
    onDrawing: async (canvas, { number, source }) => {
      pad.show({ number, ...(await readers[source].answer(canvas)) });
    },
  });
  language.follow((chosen) => {
    pad.speak(chosen, MODELS.map(({ shown }) => say(shown)));
    about.lang = chosen;
    about.replaceChildren(...MODELS.map((model, i) => item(described(model, readers[i]))));
  });
  await Promise.all(readers.map(({ ready }) => ready));
  offer("learn", createLearn, readers[1]);
  offer("hand", createHand, readers[1]);
  await practise(readers);
}

/** Show a folded part of the page, which is built when it is opened. */
function offer(section, create, reader) {
  const details = document.getElementById(`${section}-here`);
  const summary = document.createElement("summary");
  const root = document.createElement("div");
  details.replaceChildren(summary, root);
  details.hidden = false;
  details.addEventListener("toggle", () => create(root, reader), { once: true });
  language.follow((chosen) => {
    summary.lang = chosen;
    summary.textContent = language.say(section, "title");
  });
}

/** Read a drawing a few times: browsers make code fast that has run, before someone waits. */
async function practise(readers) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PICTURE;
  const pencil = canvas.getContext("2d", { willReadFrequently: true });
  pencil.fillStyle = "#fff";
  pencil.fillRect(0, 0, PICTURE, PICTURE);
  pencil.lineWidth = 32;
  pencil.strokeRect(200, 150, 160, 260);
  for (let times = 0; times < 6; times++) {
    for (const reader of readers) {
      await reader.read(pixels(canvas));
      await new Promise((resolve) => setTimeout(resolve, 50)); // drawing goes first
    }
  }
}

/** Return what the model reads: "digit" or "letter". */
function noun({ card }) {
  return table.forms[card.form].noun;
}

/** Return two words and two sentences: what the model is, whose, and how often it was right. */
function described({ shown, chapter }, { origin, card }) {
  const { title, classes, data, results } = card;
  const percent = (share) => `${(100 * share).toFixed(2)}\u00a0%`;
  const [low, high] = results.test_ci95.map(percent);
  const values = {
    title, chapter, origin, low, high,
    classes: classes.length,
    accuracy: percent(results.test_accuracy),
    images: results.test_images.toLocaleString("en"),
    data: data.name,
    sample: data.source === "sample" ? say("sample") : "",
  };
  return [`${say(shown)}: `, say(`about_${noun({ card })}`, values)];
}

function item([name, text]) {
  const element = document.createElement("li");
  const strong = document.createElement("strong");
  strong.textContent = name;
  element.append(strong, text);
  return element;
}
