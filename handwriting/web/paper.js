// Find the character on a picture: take the paper away, and ruled lines, and specks:
// `handwriting.paper`. A view is {colours, onto}: grids of red, green and blue, and what leads from
// its pixels to shares of the whole picture, three rows of three numbers.

import table from "./forms.js";
import {
  above, bounded, boxOf, closed, cropped, gaussian, grid, labelled, largestNear, longer, mapped,
  median, most, otsu, pasted, percentile, resized, round, selected, sidesOf, slopes,
  smallestNear, sum, within,
} from "./images.js";
import { character, cut, InkError, refused, rim, separate } from "./parts.js";
import { surfaces } from "./surface.js";

// What these numbers mean stands in handwriting/paper.py.
const {
  coarse: COARSE, least_clearness: LEAST_CLEARNESS, least_contrast: LEAST_CONTRAST, near: NEAR,
  working: WORKING,
} = table.ink;
const FINER = 3 * WORKING;
const TINY = 20;
const STROKES = [0.16, 0.07, 0.04];
const LEAST = 0.16;
const LITTLE = 0.15;
const SPECK = 40;
const TOO_MUCH = 0.75;

/** Return the character that a picture shows: {ink, crop, box, doubt}; box: shares, 0 to 1. */
export function found(picture) {
  const { look, doubt } = bestLook(picture);
  return { ink: look.ink, crop: cut(closer(look)), box: placeOf(look, look.box), doubt };
}

/** Return every separate character on a picture, row by row, from left to right. */
export function allFound(picture) {
  const { look } = bestLook(picture, true);
  return separate(look.ink).map(({ crop, box, mine }) => (
    { ink: look.ink, crop, box: placeOf(look, box), doubt: 0.6 * (rim(mine) > 0) }
  ));
}

/** Return what explains a picture best, and the doubt; `many` characters may be on it. */
function bestLook(picture, many = false) {
  const colours = planes(picture);
  const whole = longer(picture) < TINY ? enlarged(colours) : { colours, onto: shares(picture) };
  let [best, first, shadow] = [null, null, false];
  for (const { view, longest, kind, guess } of views(whole)) {
    if (kind > 0) {
      shadow ||= !best || best.look.soft;
      if (!shadow) continue;
    }
    // it cannot win, or shows the same shadow
    const again = view === whole && longest > WORKING;
    if (best && (guess >= best.doubt || (best.look.soft && again))) continue;
    try {
      const look = lookAt(view, many ? FINER : longest, kind, many);
      // a ring around a pen that was too thick for this
      if (kind > 0 && best && surrounds(look, best.look)) continue;
      const doubt = Math.min(1, look.doubt + guess);
      if (!best || doubt < best.doubt) best = { look, doubt };
      if (doubt < LITTLE) break;
    } catch (error) {
      if (!(error instanceof InkError)) throw error;
      first ??= error;
    }
  }
  if (best && (best.doubt <= TOO_MUCH || many)) return best;
  throw new InkError(`the picture: ${(first ?? refused("unclear")).message}`);
}

function shares({ width, height }) {
  return [[1 / width, 0, 0], [0, 1 / height, 0], [0, 0, 1]];
}

function product(one, other) {
  const entry = (row, column) => sum(row.map((value, k) => value * other[k][column]));
  return one.map((row) => other[0].map((_, column) => entry(row, column)));
}

/** Return where a box of the ink lies: left, top, right, bottom, as shares, 0 to 1. */
function placeOf({ ink, view, onto }, { left, top, right, bottom }) {
  const scale = longer(view[0]) / longer(ink);
  const corners = [[left, top], [right, top], [right, bottom], [left, bottom]].map(([x, y]) => {
    const [u, v, depth] = onto.map((row) => row[0] * x * scale + row[1] * y * scale + row[2]);
    return [bounded(u / depth, 1), bounded(v / depth, 1)];
  });
  const [xs, ys] = [0, 1].map((axis) => corners.map((corner) => corner[axis]));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** Return whether a look's box lies all around that of another look at the same picture. */
function surrounds(look, other) {
  const [mine, its] = [look, other].map((one) => placeOf(one, one.box));
  return mine.every((place, i) => (i < 2 ? place < its[i] : place > its[i]));
}

/** Return a picture of a few pixels with smooth edges, and a margin as its corners are. */
function enlarged(colours) {
  const [{ width, height }] = colours;
  const large = colours.map((colour) => {
    const framed = grid(width + 2, height + 2);
    framed.data.fill(median(Uint8Array.from(cornersOf(colour))));
    pasted(framed, colour, 1, 1);
    return resized(framed, 12 * framed.width, 12 * framed.height, "bicubic");
  });
  const back = [[1 / 12, 0, -1], [0, 1 / 12, -1], [0, 0, 1]];
  return { colours: large, onto: product(shares(colours[0]), back) };
}

/** Yield what to look at, at which longest side, the kind of paper, and what is guessed. */
function* views(whole) {
  yield { view: whole, longest: WORKING, kind: "smooth", guess: 0 };
  const straight = [];
  const inShadow = (view) => STROKES.map((kind, i) => (
    { view, longest: WORKING, kind, guess: [0.05, 0.08, 0.1][i] }
  ));
  for (const { colours, onto } of surfaces(whole.colours)) {
    straight.push({ colours, onto: product(whole.onto, onto) });
    const ratio = lightness(colours, 50) / lightness(whole.colours, 90);
    if (ratio > 0.3 && ratio < 0.8) yield* inShadow(whole); // it may be a shadow
    yield { view: straight.at(-1), longest: WORKING, kind: "smooth", guess: 0 };
  }
  for (const view of [whole, ...straight]) {
    const isLarge = longer(view.colours[0]) > 1.3 * WORKING;
    if (isLarge) yield { view, longest: FINER, kind: "smooth", guess: 0 };
  }
  for (const i of STROKES.keys()) {
    for (const view of [whole, ...straight.slice(0, 1)]) yield inShadow(view)[i];
  }
  for (const [i, kind] of commonest(whole.colours).entries()) {
    yield { view: whole, longest: WORKING, kind, guess: [0.1, 0.35][i] };
  }
  for (const view of [whole, ...straight]) {
    yield { view, longest: WORKING, kind: "rough", guess: 0.3 };
  }
}

function lightness(colours, percent) {
  const [red, green, blue] = colours.map((colour) => within(colour, COARSE).data);
  const grey = Float64Array.from(red, (value, i) =>
    (value * 19595 + green[i] * 38470 + blue[i] * 7471 + 0x8000) >> 16);
  return 1 + percentile(grey, percent);
}

/**
 * Return the commonest colour, and that of what is of another lightness.
 *
 * First the one of most corners: of a picture cut around a character, they are paper.
 */
function commonest(colours) {
  const small = colours.map((colour) => within(colour, COARSE));
  const grey = mapped(small[0], (_, i) => Math.floor(sum(small.map(({ data }) => data[i])) / 48));
  const counts = new Array(16).fill(0); // of 16 levels
  for (const level of grey.data) counts[level] += 1;
  const levels = [counts.indexOf(most(counts))];
  counts.fill(0, Math.max(0, levels[0] - 3), levels[0] + 4);
  if (most(counts)) levels.push(counts.indexOf(most(counts)));
  const near = levels.map((level) =>
    cornersOf(grey).filter((corner) => Math.abs(corner - level) < 3).length);
  if (near.at(-1) > near[0]) levels.reverse();
  return levels.map((level) => {
    const mask = mapped(grey, (other) => other === level).data;
    return small.map((colour) => median(selected(colour.data, mask)));
  });
}

function cornersOf({ width, height, data }) {
  return [data[0], data[width - 1], data[(height - 1) * width], data[height * width - 1]];
}

/** Return the ink of a small character in a large view, seen from closer. */
function closer({ ink, box, view, kind, onto, others }) {
  const scale = longer(view[0]) / longer(ink);
  const size = Math.max(...sidesOf(box));
  if (scale < 1.3 || size >= NEAR) return ink;
  const room = 0.4 * size;
  const [{ width, height }] = view;
  const near = {
    left: round(bounded((box.left - room) * scale, width)),
    top: round(bounded((box.top - room) * scale, height)),
    right: round(bounded((box.right + room) * scale, width)),
    bottom: round(bounded((box.bottom + room) * scale, height)),
  };
  try {
    const seen = { colours: view.map((colour) => cropped(colour, near)), onto };
    const like = smaller(seen, WORKING)[0];
    const wide = largestNear(others, 2);
    const own = largestNear(mapped(ink, (value) => value > 0), 1).data;
    const leftOut = mapped(wide, (inside, i) => inside && !own[i]);
    // the same strokes are wider there
    const there = kind > 0 ? Math.min(0.5, (kind * longer(view[0])) / longer(seen.colours[0])) : kind;
    const look = lookAt(seen, WORKING, there, false, enlargedPart(leftOut, near, scale, like));
    if (look.doubt <= TOO_MUCH) return look.ink;
  } catch (error) {
    if (!(error instanceof InkError)) throw error; // what was seen from afar will do
  }
  return ink;
}

/** Return the part of a mask that `box` shows, `scale` times as large, at the size of `like`. */
function enlargedPart(mask, box, scale, like) {
  const [left, top] = [box.left / scale, box.top / scale];
  const wide = Math.min(box.right / scale, mask.width) - left;
  const high = Math.min(box.bottom / scale, mask.height) - top;
  return mapped(like, (_, i) => {
    const x = Math.trunc(left + ((i % like.width) + 0.5) * (wide / like.width));
    const y = Math.trunc(top + (Math.floor(i / like.width) + 0.5) * (high / like.height));
    return mask.data[y * mask.width + x];
  });
}

/** Return red, green and blue. */
function planes({ width, height, data }) {
  const colours = [0, 1, 2].map(() => grid(width, height));
  const [red, green, blue] = colours.map((colour) => colour.data);
  for (let i = 0, k = 0; i < red.length; i++, k += 4) {
    red[i] = data[k];
    green[i] = data[k + 1];
    blue[i] = data[k + 2];
  }
  return colours;
}

/**
 * Find the ink of one or `many` characters, `leftOut` apart, at most `longest` pixels a side.
 *
 * The paper is a smooth surface; or that with a relief, as if crumpled, "rough"; or what is around
 * dark strokes, at most so wide, with the edge of a shadow across it; or of one colour.
 */
function lookAt(seen, longest, kind, many = false, leftOut = null) {
  const { colours: view, onto } = seen;
  const colours = smaller(seen, longest);
  const [plain, rough, wide] = [Array.isArray(kind), kind === "rough", kind > 0];
  const papers = papersOf(colours, kind);
  let strength = strengthOf(colours, papers);
  const limit = plain ? 0.3 * percentile(everyOther(strength, 3), 99) : Infinity;
  let noise = noiseOf(strength, limit); // ink may cover most of a picture with paper of one colour
  if (noise > 1) {
    strength = gaussian(strength, 0.7);
    noise = noiseOf(strength, limit);
  }
  const inked = without(leftOut, maskOf(strength, noise, rough || wide));
  const { mask, pen, doubt: before } = character(inked, many);
  let doubt = before;
  const both = mapped(mask, (kept, i) => kept && inked.data[i]).data;
  const level = median(selected(strength.data, both));
  for (let i = 0; i < inked.data.length; i++) {
    if (mask.data[i] && !inked.data[i]) strength.data[i] = level; // the inside of an outline
  }
  if (wide && lighterAround(colours, mask, level) < 0.9) throw refused("filled"); // a bit of an area
  const box = boxOf(mask);
  const [steepest, softEdge] = edge(cropped(mask, box), cropped(strength, box));
  const around = largestNear(mask, 4).data; // light around a shadow, and the strokes in that
  const other = strength.data.map((value, i) => (!around[i] && value < -0.6 * level ? 1 : 0));
  const soft = softEdge || (pen > 8 && shaded(selected(strength.data, mask.data))) ||
    sum(other) > 0.15 * sum(mask.data);
  if (soft) doubt = Math.max(doubt, 0.35); // part of it is a shadow
  const free = !rim(mask);
  const small = rough && most(labelled(mask).areas) < SPECK;
  if (rough && (steepest < 0.18 * level || !free || small)) throw refused("shadow");
  // A rule, rather; a large character was seen before.
  if (((longest > WORKING && !many) || wide) && !free) throw refused("unclear");
  const plate = !free && pen > 0.2 * Math.max(...sidesOf(box));
  if (plate && steepest * pen < (plain ? 3 : 6) * level) throw refused("shadow");
  const near = largestNear(mask, Math.max(1, round(Math.min(3, pen / 3)))).data;
  const low = Math.min(2.5 * noise, 0.3 * level);
  const [least, more] = [Math.fround(low), Math.fround(255 / (level - low))];
  const ink = grid(mask.width, mask.height);
  for (let i = 0; i < near.length; i++) {
    if (!near[i]) continue;
    const value = Math.fround(Math.fround(strength.data[i] - least) * more);
    ink.data[i] = round(bounded(value, 255));
  }
  const isSmall = Math.max(...sidesOf(box)) < LEAST * longest;
  if (isSmall && longest < FINER && longer(view[0]) > 1.3 * longest) {
    doubt = Math.max(doubt, 0.2); // it deserves a finer look
  }
  const others = mapped(inked, (inside, i) => inside && !mask.data[i]);
  return { ink, box, doubt, view, kind, onto, soft, others };
}

/** Return a mask without the marks of which half is `leftOut`. */
function without(leftOut, inked) {
  if (!leftOut) return inked;
  const { parts, areas } = labelled(inked);
  const counts = areas.map(() => 0);
  parts.data.forEach((part, i) => (counts[part] += leftOut.data[i] ? 1 : 0));
  return mapped(parts, (part) => part && counts[part] < 0.5 * areas[part]);
}

/** Return a view's colours at most `longest` pixels a side; they are kept for the next look. */
function smaller(view, longest) {
  view.kept ??= {};
  view.kept[longest] ??= view.colours.map((colour) => within(colour, longest));
  return view.kept[longest];
}

/** Return the paper behind the ink, of one of the kinds. */
function papersOf(colours, kind) {
  if (Array.isArray(kind)) {
    return colours.map((colour, band) => mapped(colour, () => kind[band], Float32Array));
  }
  if (kind > 0) return aroundStrokes(colours, kind);
  return paperOf(colours.map((colour) => within(colour, COARSE)), colours[0]);
}

/** Return how steep a mask's edge is, and whether a tenth of it is much less so than the rest. */
function edge(mask, strength) {
  const inner = smallestNear(mask, 1).data;
  const rimmed = mapped(mask, (inside, i) => inside && !inner[i]).data;
  // it fills its box, and ends sharply there
  if (Math.min(mask.width, mask.height) < 2 || !rimmed.includes(1)) return [Infinity, false];
  const steep = slopes(strength);
  const along = selected(largestNear(steep, 1).data, rimmed);
  const [least, usual] = [percentile(along, 10), percentile(along, 80)];
  return [percentile(selected(steep.data, mask.data), 99), least < 0.5 * usual];
}

/** Return whether ink is of a shadow: even, and with darker strokes in it. */
function shaded(strengths) {
  const [low, middle, high, darkest] = [30, 50, 60, 97].map((p) => percentile(strengths, p));
  return darkest > (1.25 * middle * high) / low;
}

/**
 * Return the share of what is around a mask that is lighter than what is in it.
 *
 * Around strokes, nearly all of it is; a bit of a dark area has more of that on one side.
 */
function lighterAround(colours, mask, level) {
  const grey = mapped(mask, (_, i) => sum(colours.map(({ data }) => data[i])) / 3, Float32Array);
  const inner = largestNear(mask, 1).data;
  const around = mapped(largestNear(mask, 3), (inside, i) => inside && !inner[i]).data;
  const share = gaussian(mapped(mask, Number, Float32Array), 4).data;
  const inside = gaussian(mapped(mask, (kept, i) => kept * grey.data[i], Float32Array), 4).data;
  const lighter = grey.data.map((value, i) =>
    value > inside[i] / (share[i] + 1e-6) + 0.3 * level ? 1 : 0);
  const found = selected(lighter, around);
  return sum(found) / Math.max(1, found.length);
}

/** Return the paper behind dark strokes, at most so `wide`, from what is around them. */
function aroundStrokes(colours, wide) {
  const reach = round((wide / 2) * longer(colours[0]));
  return colours.map((colour) => gaussian(closed(colour, reach), 2));
}

/** Return the standard deviation of the paper, from the median: ink does not count. */
function noiseOf(strength, limit) {
  const sampled = everyOther(strength, 2).filter((value) => value <= limit);
  const middle = median(sampled);
  return 1.4826 * median(sampled.map((value) => Math.abs(value - middle)));
}

/**
 * Estimate the paper behind the ink, also where it is plain: what is taken for paper near a stroke
 * decides about pixels on its edge, and those about the stroke's middle line.
 *
 * A quadratic surface that most pixels lie on, and what is left of it, averaged over those pixels.
 *
 * @returns {Float32Array grids} of the three colours, as large as `like`.
 */
function paperOf(small, like) {
  const { width, height } = small[0];
  const count = width * height;
  const terms = Array.from({ length: 6 }, () => new Float64Array(count));
  const rim = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const x = width > 1 ? -1 + (2 * (i % width)) / (width - 1) : -1;
    const y = height > 1 ? -1 + (2 * Math.floor(i / width)) / (height - 1) : -1;
    [1, x, y, x * x, x * y, y * y].forEach((term, k) => (terms[k][i] = term));
    rim[i] = Math.max(Math.abs(x), Math.abs(y)) > 0.85;
  }
  const everywhere = new Uint8Array(count).fill(1);
  const colours = small.map(({ data }) => new Float64Array(data));
  let surfaces = colours.map((colour) => new Float64Array(count).fill(median(colour)));
  let rests = colours.map((colour, band) => minus(colour, surfaces[band].slice()));
  let away = largest(rests);
  // Least squares, with little weight for what lies far from the surface; first along the rim,
  // which is mostly paper. The third that fits best tells the spread: ink may cover nearly half.
  for (let step = 0; step < 8; step++) {
    const seen = step < 3 ? rim : everywhere;
    const deviation = Math.max(1, 2.2 * percentile(selected(away, seen), 35));
    const weights = away.map((value, i) => seen[i] / (1 + (value / (2 * deviation)) ** 2));
    surfaces = fitted(terms, colours, weights);
    rests = colours.map((colour, band) => minus(colour, surfaces[band].slice()));
    away = largest(rests);
  }
  const deviation = Math.max(1, 2.2 * percentile(away, 35));
  const known = { width, height, data: away.map((value) => (value < 3 * deviation ? 1 : 0)) };
  const weight = gaussian(known, COARSE / 10).data;
  return rests.map((rest, band) => {
    const counted = { width, height, data: rest.map((value, i) => value * known.data[i]) };
    const near = gaussian(counted, COARSE / 10).data;
    const paper = grid(width, height, Float32Array);
    for (let i = 0; i < count; i++) {
      paper.data[i] = surfaces[band][i] + near[i] / (weight[i] + 0.1);
    }
    return resized(paper, like.width, like.height, "bilinear");
  });
}

/** Return the differences, in place of `others`. */
function minus(values, others) {
  for (let i = 0; i < others.length; i++) others[i] = values[i] - others[i];
  return others;
}

/** Return the largest change of the three colours at each pixel. */
function largest([red, green, blue]) {
  const result = red.slice();
  for (let i = 0; i < result.length; i++) {
    result[i] = Math.max(Math.abs(red[i]), Math.abs(green[i]), Math.abs(blue[i]));
  }
  return result;
}

/** Return, for each colour, the sum of the terms that fits it best: weighted least squares. */
function fitted(terms, colours, weights) {
  const rows = [];
  terms.forEach((term, k) => {
    const weighted = term.slice();
    for (let i = 0; i < weighted.length; i++) weighted[i] *= weights[i];
    rows[k] = [...terms, ...colours].map((other, column) => {
      if (column < k) return rows[column][k]; // the same both ways
      let total = column === k ? 1e-3 : 0;
      for (let i = 0; i < other.length; i++) total += weighted[i] * other[i];
      return total;
    });
  });
  for (let k = 0; k < rows.length; k++) { // Gauss and Jordan; the matrix is positive definite
    const pivot = rows[k].map((value) => value / rows[k][k]);
    rows.forEach((row, other) => {
      rows[other] = other === k ? pivot : row.map((value, i) => value - row[k] * pivot[i]);
    });
  }
  return colours.map((colour, band) => {
    const surface = new Float64Array(colour.length);
    terms.forEach((term, k) => {
      const factor = rows[k][terms.length + band];
      for (let i = 0; i < surface.length; i++) surface[i] += factor * term[i];
    });
    return surface;
  });
}

/** Return how far each pixel differs from the paper in the direction of the ink's colour. */
function strengthOf(colours, behind) {
  const { width, height } = colours[0];
  const papers = behind.map(({ data }) => data);
  const changes = colours.map(({ data }, band) => minus(data, papers[band].slice()));
  const size = largest(changes);
  const sampled = new Float32Array(Math.ceil(size.length / 5));
  for (let i = 0; i < sampled.length; i++) sampled[i] = size[5 * i];
  const far = Math.max(1, 0.5 * percentile(sampled, 99.5));
  const direction = mainDirection(changes, (i) => size[i] > far);
  const strength = grid(width, height, Float32Array);
  const [r, g, b] = direction.map((part) => Math.fround(part / Math.sqrt(3))); // grey: its value
  const [red, green, blue] = changes;
  for (let i = 0; i < red.length; i++) {
    strength.data[i] = r * red[i] + g * green[i] + b * blue[i];
  }
  if (r + g + b >= 0) return strength;
  // Dark ink takes away a share of the light, which may be uneven.
  const light = new Float32Array(red.length);
  for (let i = 0; i < light.length; i++) {
    light[i] = -r * papers[0][i] - g * papers[1][i] - b * papers[2][i];
  }
  const usual = median(everyOther({ width, height, data: light }, 4));
  const least = 0.2 * usual + 1;
  for (let i = 0; i < light.length; i++) {
    strength.data[i] *= Math.fround(usual / Math.max(light[i], least));
  }
  return strength;
}

/** Return the values of every `step`-th pixel of every `step`-th row. */
function everyOther({ width, height, data }, step) {
  const values = new Float32Array(Math.ceil(width / step) * Math.ceil(height / step));
  for (let y = 0, k = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) values[k++] = data[y * width + x];
  }
  return values;
}

/** Return the unit vector that most of the changes lie along, and point to; zeros without any. */
function mainDirection(changes, counts) {
  const [red, green, blue] = changes;
  let [rr, rg, rb, gg, gb, bb] = [0, 0, 0, 0, 0, 0];
  const along = [0, 0, 0];
  for (let i = 0; i < red.length; i++) {
    if (!counts(i)) continue;
    const [r, g, b] = [red[i], green[i], blue[i]];
    rr += r * r;
    rg += r * g;
    rb += r * b;
    gg += g * g;
    gb += g * b;
    bb += b * b;
    along[0] += r;
    along[1] += g;
    along[2] += b;
  }
  let direction = along; // the power method: dark ink on white changes all pixels alike
  for (let step = 0; step < 20; step++) {
    const length = Math.hypot(...direction);
    if (!length) return [0, 0, 0];
    const [r, g, b] = direction.map((part) => part / length);
    direction = [rr * r + rg * g + rb * b, rg * r + gg * g + gb * b, rb * r + gb * g + bb * b];
  }
  const length = Math.hypot(...direction);
  return direction.map((part) => part / length);
}

/** Divide ink from paper and from ruled lines. */
function maskOf(strength, noise, rough) {
  const ruled = ruledLines(strength, noise);
  const free = ruled ? selected(strength.data, mapped(ruled, (line) => !line).data) : strength.data;
  const few = Math.min(30, 1 + Math.floor(free.length / 200)); // the smallest character that counts
  const strong = free.filter((value) => value > Math.fround(LEAST_CONTRAST - 0.01)).sort();
  const top = strong.length < few ? 0 : strong[strong.length - few];
  if (top < LEAST_CONTRAST) throw refused("empty");
  const sampled = new Float32Array(Math.ceil(free.length / 3));
  for (let i = 0; i < sampled.length; i++) sampled[i] = bounded(free[3 * i], top);
  const threshold = Math.fround(Math.max(otsu(sampled), 3 * noise));
  const inside = free.filter((value) => value > threshold);
  const level = inside.length ? median(inside) : 0;
  const clear = rough ? 2.2 : LEAST_CLEARNESS;
  if (level < Math.max(clear * noise, LEAST_CONTRAST)) throw refused("unclear");
  const mask = rough // the relief's shadows are lighter than ink
    ? aboveBoth(strength, 0.6 * level, 0.95 * level)
    : above(strength, Math.fround(Math.max(3 * noise, 0.45 * level)));
  return ruled ? across(mask, ruled, strength, level) : mask;
}

/** Return the parts with more than `low` in which there is more than `high`. */
function aboveBoth(strength, low, high) {
  const { parts, areas } = labelled(above(strength, low), false);
  const kept = areas.map(() => false);
  strength.data.forEach((value, i) => (kept[parts.data[i]] ||= value > high));
  return mapped(parts, (part) => part && kept[part]);
}

/** Find lines that run through the whole picture: a mask, or null without any. */
function ruledLines(strength, noise) {
  const least = Math.fround(Math.max(3 * noise, 0.12 * percentile(everyOther(strength, 2), 99.8), 4));
  const faint = above(strength, least);
  const { width, height } = faint;
  const edge = Math.max(2, round(0.01 * longer(faint)));
  const strip = (left, top, right, bottom) => cropped(faint, { left, top, right, bottom }).data.includes(1);
  const upright = strip(0, 0, width, edge) && strip(0, height - edge, width, height);
  const level = strip(0, 0, edge, height) && strip(width - edge, 0, width, height);
  // In a smaller picture a line cannot be told from a stroke that spans it.
  if (longer(faint) < 150 || !(upright || level)) return null;
  // At half the resolution, a line may be a little crooked.
  const half = grid(width >> 1, height >> 1);
  half.data.forEach((_, i) => {
    const at = 2 * (i % half.width) + 2 * Math.floor(i / half.width) * width;
    const { data } = faint;
    half.data[i] = data[at] || data[at + 1] || data[at + width] || data[at + width + 1];
  });
  const nearAxis = Array.from({ length: 33 }, (_, i) => ((i / 2 - 8) * Math.PI) / 180);
  const ruled = grid(half.width, half.height);
  const points = [];
  half.data.forEach((inside, i) => {
    if (inside) points.push([i % half.width, Math.floor(i / half.width)]);
  });
  if (upright) rule(ruled, points, nearAxis, half.height, 1);
  if (level) rule(ruled, points, nearAxis.map((angle) => angle + Math.PI / 2), half.width, 0);
  if (!ruled.data.includes(1)) return null;
  return mapped(faint, (_, i) => {
    const [x, y] = [(i % width) >> 1, Math.floor(i / width) >> 1];
    return ruled.data[Math.min(y, half.height - 1) * half.width + Math.min(x, half.width - 1)];
  });
}

/** Add the lines of some angles that points lie on, all along the `length` of an axis. */
function rule(ruled, points, angles, length, axis) {
  const offset = Math.ceil(Math.hypot(ruled.width, ruled.height));
  const votes = houghLines(points, angles, offset);
  for (const [row, column] of peaks(votes, 3, 5, 0.55 * length)) {
    const [cosine, sine] = [Math.cos(angles[column]), Math.sin(angles[column])];
    const away = (x, y) => Math.abs(x * cosine + y * sine - (row - offset));
    const covered = new Array(20).fill(0);
    let beside = 0;
    for (const point of points) {
      const far = away(...point);
      if (far < 1.6) covered[Math.floor((point[axis] * 20) / length)] = 1;
      beside += far > 4 && far < 6;
    }
    const through = covered[0] && covered[19] && sum(covered) >= 16;
    if (!through || beside / (4 * length) >= 0.35) continue;
    ruled.data.forEach((line, i) => {
      if (away(i % ruled.width, Math.floor(i / ruled.width)) < 2.1) ruled.data[i] = 1;
    });
  }
}

/** Return how many points lie on each line: of each angle a column, of each offset a row. */
function houghLines(points, angles, offset) {
  const votes = grid(angles.length, 2 * offset + 1, Float64Array);
  angles.forEach((angle, column) => {
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    for (const [x, y] of points) {
      const row = Math.round(cosine * x + sine * y) + offset;
      votes.data[row * votes.width + column] += 1;
    }
  });
  return votes;
}

/** Return the rows and columns of the largest votes, apart: scikit-image's hough_line_peaks. */
function peaks(votes, rowsApart, columnsApart, least) {
  const { width, height } = votes;
  const highest = largestNear(votes, columnsApart, rowsApart);
  const { parts, areas } = labelled(
    mapped(votes, (value, i) => value === highest.data[i] && value > least),
  );
  const sums = areas.map(() => ({ row: 0, column: 0, value: 0 }));
  parts.data.forEach((part, i) => {
    const own = sums[part];
    own.row += Math.floor(i / width);
    own.column += i % width;
    own.value = Math.max(own.value, highest.data[i]);
  });
  const middles = sums.map(({ row, column, value }, part) => (
    { row: round(row / areas[part]), column: round(column / areas[part]), value }
  ));
  const found = [];
  for (const { row, column } of middles.slice(1).sort((a, b) => a.value - b.value).reverse()) {
    if (highest.data[row * width + column] <= least) continue;
    found.push([row, column]);
    for (let y = Math.max(1, row - rowsApart); y <= Math.min(height - 1, row + rowsApart); y++) {
      for (let x = column - columnsApart; x <= column + columnsApart; x++) {
        const over = x < 0 || x >= width; // the angles go on, turned around
        const at = over ? (height - y) * width + ((x + width) % width) : y * width + x;
        highest.data[at] = 0;
      }
    }
  }
  return found;
}

/** Return the mask without the ruled lines, but with the strokes that cross them. */
function across(mask, ruled, strength, level) {
  const clear = mapped(mask, (inside, i) => inside && !ruled.data[i]);
  // A line that leaves through a corner was not found; what is left of it lies along the edge.
  const { parts, boxes } = labelled(clear);
  const thin = 0.04 * longer(mask);
  const left = boxes.map((box) => {
    if (!box) return false;
    const [wide, high] = sidesOf(box);
    const flat = high < thin && (box.top < 4 || box.bottom > mask.height - 4);
    return !(flat || (wide < thin && (box.left < 4 || box.right > mask.width - 4)));
  });
  parts.data.forEach((part, i) => (clear.data[i] = left[part] ? 1 : 0));
  const faint = strength.data.filter((value, i) => ruled.data[i] && value > Math.fround(0.1 * level));
  const line = faint.length ? percentile(faint, 65) : 0;
  const bridged = line < 0.7 * level ? null : closed(clear, 6).data;
  // the ink stands out from the lines, too
  const crosses = (i) => (bridged ? bridged[i] : strength.data[i] > (line + level) / 2);
  const onLines = mapped(mask, (inside, i) => inside && ruled.data[i] && crosses(i));
  // A character does not lie on the lines alone.
  if (sum(clear.data) <= 0.1 * sum(onLines.data)) return clear;
  return mapped(clear, (inside, i) => inside || onLines.data[i]);
}
