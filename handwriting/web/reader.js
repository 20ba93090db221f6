// A model of this course in the browser: `handwriting.models.Reader`, with ONNX Runtime Web.

import { pixels, seen } from "./canvas.js";
import { allToForm, DOUBTFUL, InkError, toForm } from "./ink.js";
import { fetched, session, Tensor } from "./runtime.js";

const CHOICES = 5;
const beside = (file) => fetched(new URL(file, import.meta.url).href);

/**
 * Fetch a model that `saving.save` has written, and what stands beside it.
 *
 * @param {string} name of its files, such as "lenet".
 * @returns {{origin, card, transliterations, strokes, ready, probabilities, read, readAll, answer,
 *   features, head, others}}
 *   origin: whose model it is, in words. card: as `cards.Card`.
 *   transliterations, strokes: of each class, empty for digits.
 *   ready: a promise, fulfilled once the model can answer.
 *   probabilities(image): of the classes, for a grid of uint8 in the model's form; a promise.
 *   read(picture): what is drawn on it: a promise of {sure, choices, steps}, as `models.Answer`;
 *     fails with `InkError` where nothing can be read.
 *   readAll(picture): the same of every separate character on it, row by row.
 *   answer(canvas): the same of what is drawn on a canvas, as `pad.show` takes it; never fails.
 *   features(image): what the last layer gets, Float32Array. head(): that layer, {weight, bias}.
 *   others(): [{features, label, writer}, ...], letters by synthetic writers; all are promises, and
 *     only of the model of letters.
 */
export async function reader(name) {
  const model = beside(`${name}.onnx`).then((response) => response.arrayBuffer()).then((bytes) => session(bytes));
  model.catch(() => {}); // as `ready`, for who waits for it
  const { origin, card, transliterations, strokes } = await (await beside(`${name}.json`)).json();
  const side = card.side;

  async function run({ data }, names) {
    const ink = Float32Array.from(data, (value) => value / 255);
    const images = new Tensor("float32", ink, [1, 1, side, side]);
    const found = await (await model).run({ images }, names);
    return names.map((name) => found[name].data);
  }
  const probabilities = async (image) => (await run(image, ["probabilities"]))[0];
  const features = async (image) => (await run(image, ["features"]))[0];
  const nothing = { data: new Uint8Array(side * side) };

  async function head() {
    const [weight, bias] = await run(nothing, ["weight", "bias"]);
    return { weight, bias };
  }

  async function others() {
    const all = new Float32Array(await (await beside(`${name}.others.bin`)).arrayBuffer());
    const count = card.classes.length;
    const width = (await features(nothing)).length;
    return Array.from({ length: all.length / width }, (_, i) => ({
      features: all.subarray(i * width, (i + 1) * width),
      label: i % count,
      writer: Math.floor(i / count),
    }));
  }

  async function answered(steps) {
    const names = card.strangest < 1 ? ["probabilities", "strangeness"] : ["probabilities"];
    const [found, strangeness] = await run(steps.normalised, names);
    if (strangeness?.[0] > card.strangest) steps.doubt = Math.max(steps.doubt, DOUBTFUL);
    const order = Array.from(found.keys()).sort((a, b) => found[b] - found[a]);
    const choices = order.slice(0, CHOICES).map((i) => ({
      text: card.classes[i],
      transliteration: transliterations[i] ?? "",
      probability: found[i],
      strokes: strokes[i],
    }));
    const sure = choices[0].probability >= card.threshold && steps.doubt < DOUBTFUL;
    return { sure, choices, steps };
  }
  const read = async (picture) => answered(toForm(picture, card));

  async function readAll(picture) {
    const answers = [];
    for (const steps of allToForm(picture, card)) answers.push(await answered(steps));
    return answers;
  }

  async function answer(canvas) {
    const picture = pixels(canvas);
    try {
      const { sure, choices, steps } = await read(picture);
      return { sure, choices, seen: seen(steps.normalised), side };
    } catch (error) {
      if (!(error instanceof InkError)) return { error: globalThis.courseLanguage.say("pad", "wrong", error) };
      return { error: error.message, all: error.several ? await readAll(picture).catch(() => []) : [] };
    }
  }

  // The first run takes longer than all others: not when someone waits for it.
  const ready = probabilities(nothing);
  ready.catch(() => {}); // for who waits for it
  const about = { origin, card, transliterations, strokes };
  return { ...about, ready, probabilities, read, readAll, answer, features, head, others };
}
