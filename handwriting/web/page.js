// The playground page: the drawing pad, and the models that read it.

import { follow, pixels, seen } from "./canvas.js";
import table from "./forms.js";
import { InkError } from "./ink.js";
import { createPad, PICTURE } from "./pad.js";
import { reader } from "./reader.js";

const MODELS = [
  { name: "lenet", shown: "Digits", chapter: 5 },
  { name: "compact_cnn", shown: "Tamil letters", chapter: 7 },
];

/** Build the page in `root`; what the models are is told in `about`, a list. */
export async function build(root, about) {
  const readers = await Promise.all(MODELS.map(({ name }) => reader(name)));
  follow(root);
  root.replaceChildren();
  const pad = createPad(root, {
    sources: MODELS.map(({ shown }, i) => ({
      name: shown,
      noun: noun(readers[i]),
      labels: readers[i].card.classes.map((text) => [text, ""]), // of Keep, which is not here
    })),
    pictures: true,
    silence: "The model is still on its way.",
    onDrawing: async (canvas, { number, source }) => {
      try {
        const { sure, choices, steps } = await readers[source].read(pixels(canvas));
        const { normalised } = steps;
        pad.show({ number, sure, choices, seen: seen(normalised), side: normalised.width });
      } catch (error) {
        const known = error instanceof InkError;
        pad.show({ number, error: known ? error.message : `That went wrong: ${error.message}` });
      }
    },
  });
  about.replaceChildren(...MODELS.map((model, i) => item(described(model, readers[i]))));
  await Promise.all(readers.map(({ ready }) => ready));
  await practise(readers);
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
  const sample = data.source === "sample" ? ", a small stand-in for the real data" : "";
  return [
    `${shown}: `,
    `the model is “${title}” of chapter ${chapter}, ${origin}, ` +
      `and knows ${classes.length} characters. ` +
      `It read ${percent(results.test_accuracy)} of ` +
      `${results.test_images.toLocaleString("en")} test images of ${data.name} rightly ` +
      `(95\u00a0% interval: ${low} to ${high})${sample}. ` +
      `Whatever you draw, it takes for a ${noun({ card })} that it knows.`,
  ];
}

function item([name, text]) {
  const element = document.createElement("li");
  const strong = document.createElement("strong");
  strong.textContent = name;
  element.append(strong, text);
  return element;
}
