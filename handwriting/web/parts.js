// Which marks on a picture make up one character: not a frame, a thumb, holes, specks:
// `handwriting.parts`. A box is {left, top, right, bottom}; areas and boxes are by part, as
// `labelled` gives them.

import { beside, between } from "./beside.js";
import table from "./forms.js";
import {
  above, boxOf, cropped, distances, filled, grid, labelled, longer, mapped, median, most, padded,
  percentile, reaches, selected, sidesOf, skeleton, sum,
} from "./images.js";
import { areaOf, hullOf, quadrilateral } from "./surface.js";

const MOST_PARTS = table.ink.most_parts; // of one character, dots and broken strokes included
const MOST_HOLES = 20; // in one character; a loop or two, and pinholes; noise has hundreds
const OUTLINE = 0.36; // doubt whether lines are the outline of strokes
const MANY_PARTS = 100; // of a page's characters

/** A picture shows no character; the message says why. */
export class InkError extends Error {}

/** Return the error that says why a picture shows no character. */
export function refused(why, count = "") {
  return new InkError(`${count}${table.refusals[why]} ${table.refusals.expected}`);
}

/** Return ink without the rows and columns that are empty, or nearly so. */
export function cut(ink) {
  return cropped(ink, boxOf(ink, 64));
}

/** Return the sum of the outermost values. */
export function rim({ width, height, data }) {
  let total = 0;
  for (let x = 0; x < width; x++) total += data[x] + data[(height - 1) * width + x];
  for (let y = 0; y < height; y++) total += data[y * width] + data[(y + 1) * width - 1];
  return total;
}

/**
 * Keep the parts of a mask that make up one character, or `many`.
 *
 * @returns {{mask, pen, doubt}} the parts; the width of the pen in pixels; and how doubtful the
 *   choice is, from 0 to 1.
 * @throws {InkError} no part looks like a character.
 */
export function character(mask, many = false) {
  const { parts, areas, boxes } = labelled(mask);
  const drop = (unwanted) => unwanted.forEach((part) => (areas[part] = 0));
  if (areas.length === 1) throw refused("unclear");
  drop(surroundings(parts, areas, boxes, many));
  drop(outsideFrame(parts, areas, boxes));
  if (!most(areas)) throw refused("unclear");
  const { others, doubt: guess } = many ? { others: [], doubt: 0 } : beside(parts, areas, boxes);
  drop(others);
  const main = areas.indexOf(most(areas));
  const depth = distances(padded(mapped(cropped(parts, boxes[main]), (part) => part === main), 1));
  const pen = 2 * median(selected(depth.data, skeleton(depth).data));
  const deepest = most(depth.data);
  if (!many) drop(underlines(areas, boxes, pen, mask));
  const everything = sum(areas);
  drop(dirt(areas, boxes, pen));
  const kept = grid(parts.width, parts.height);
  for (let i = 0; i < kept.data.length; i++) kept.data[i] = areas[parts.data[i]] ? 1 : 0;
  const count = areas.filter(Boolean).length;
  if (count > (many ? MANY_PARTS : MOST_PARTS)) throw refused("marks", `${count} `);
  if (sum(areas) < 0.6 * everything) throw refused("unclear");
  const around = boxOf(kept);
  const full = 2 * deepest > 0.85 * Math.max(...sidesOf(around));
  if (full || rim(kept) > 0.9 * (mask.width + mask.height) || isPlate(kept)) throw refused("filled");
  const outline = many ? 0 : outlined(kept, around, pen);
  if (outline === OUTLINE) return { mask: kept, pen, doubt: OUTLINE }; // other doubts were of lines
  const [wide, high] = sidesOf(around);
  const reached = sum(reaches(kept));
  const whole = reached > 2 && wide * high > 0.6 * mask.width * mask.height; // cut around it
  const doubt = Math.max(
    outline,
    guess,
    0.9 * framed(parts, areas, boxes, pen),
    2 * (1 - sum(areas) / everything) + 0.08 * Math.max(0, count - 3) * !many,
    0.1 * (reached > 0) + 0.5 * (rim(kept) > 3 * pen && !whole),
    0.3 * (2 * deepest > 2.6 * pen), // rather what is between strokes
  );
  return { mask: kept, pen, doubt: Math.min(1, doubt) };
}

/**
 * Fill the strokes of a character of which only the outline is drawn, in place; return the doubt.
 *
 * @throws {InkError} it has too many holes to be a character.
 */
function outlined(kept, box, pen) {
  const crop = cropped(kept, box);
  const { parts: holes, areas } = labelled(mapped(padded(crop, 1), (inside) => !inside), false);
  if (areas.length > MOST_HOLES + 2) throw refused("unclear");
  const count = areas.length - 1;
  areas[holes.data[0]] = 0; // what is around the character
  const ink = sum(crop.data);
  if (sum(areas) < ink) return 0;
  const widest = areas.map(() => 0);
  distances(holes).data.forEach((depth, i) => {
    widest[holes.data[i]] = Math.max(widest[holes.data[i]], depth);
  });
  const share = (sum(areas) + ink) / Math.max(1, areaOf(hullOf(crop))); // of a 0, nearly 1
  const times = (share < 0.85 ? 3 : 4.5) * Math.PI;
  const long = areas.map((area, hole) => area > times * widest[hole] ** 2); // strokes, no loops
  const { width, height } = holes;
  const inner = { left: 1, top: 1, right: width - 1, bottom: height - 1 };
  const inside = mapped(cropped(holes, inner), (hole) => long[hole]);
  const away = distances(mapped(inside, (hole) => !hole));
  const stroked = sum(inside.data) > 0.7 * sum(areas);
  if (stroked && percentile(selected(away.data, crop.data), 90) < 1.6 * pen) {
    inside.data.forEach((hole, i) => {
      const [x, y] = [box.left + (i % inside.width), box.top + Math.floor(i / inside.width)];
      if (hole) kept.data[y * kept.width + x] = 1;
    });
    return OUTLINE;
  }
  return 0.5 * (count > 2 && share > 0.92); // a ring that touches what is in it
}

/** Return the parts that are smaller than a dot, or small and far from the largest part. */
function dirt(areas, boxes, pen) {
  const largest = most(areas);
  const box = boxes[areas.indexOf(largest)];
  // A dot is about as large as the pen is wide, and stands near its letter.
  const least = Math.max(2, 0.4 * pen * pen, 0.002 * largest);
  return numbers(areas).filter((part) => {
    if (areas[part] < least) return true;
    const other = boxes[part];
    const away = Math.max(between(box, other), 2 * between(box, other, true));
    return areas[part] < 0.08 * largest && away > 0.8 * Math.max(...sidesOf(box));
  });
}

/** Return the parts that are flat lines below all else, wider than that, and end in sight. */
function underlines(areas, boxes, pen, { width, height }) {
  const kept = numbers(areas).filter((part) => areas[part]);
  const wide = (part) => sidesOf(boxes[part])[0];
  let flat = kept.filter((part) =>
    sidesOf(boxes[part])[1] < 0.25 * wide(part) && areas[part] < 2.6 * pen * wide(part));
  if (flat.length === kept.length) return [];
  const largest = Math.max(...kept.filter((part) => !flat.includes(part)).map((part) => areas[part]));
  const others = () => kept
    .filter((part) => !flat.includes(part) && areas[part] > 0.3 * largest) // no specks
    .map((part) => boxes[part]);
  const right = Math.max(...others().map((box) => box.right));
  const left = Math.min(...others().map((box) => box.left));
  flat = flat.filter((part) => {
    const box = boxes[part];
    const ends = box.left > 0 && box.right < width && box.bottom < height;
    return ends && wide(part) > 1.2 * (right - left);
  });
  const lowest = Math.max(...others().map((box) => box.bottom));
  return flat.filter((part) => boxes[part].top > lowest - pen);
}

/** Return how many digits ink surely shows, and the doubt whether it is one. */
export function several(crop) {
  const { width, height } = crop;
  const boxes = labelled(above(crop, 64)).boxes.slice(1);
  const high = (share) => boxes.filter((box) => box.bottom - box.top > share * height);
  const gaps = (sorted, after, before) =>
    sorted.slice(1).map((box, i) => box[after] - sorted[i][before]);
  const tall = high(0.45).sort((a, b) => a.left - b.left);
  const beside = Math.max(-1, ...gaps(tall, "left", "right"));
  if (beside > 0.12 * height) return { count: tall.length, doubt: 1 };
  const halves = high(0.3).sort((a, b) => a.top - b.top);
  const over = Math.max(-1, ...gaps(halves, "top", "bottom"));
  if (over > 0.08 * height) return { count: halves.length, doubt: 1 };
  const face = !tall.length;
  return { count: 1, doubt: 0.6 * (beside > 0 || over >= 0 || width > 1.25 * height || face) };
}

/** Return every character of ink, row by row, from left to right: {crop, box, mine}, a mask. */
export function separate(ink) {
  const { parts, boxes } = labelled(above(ink, 64));
  const joined = [-1, ...joinedTo(boxes.slice(1))];
  const characters = [...new Set(joined)].slice(1).map((one) => {
    const mine = mapped(parts, (part) => joined[part] === one);
    const crop = cut(mapped(ink, (value, i) => value * mine.data[i]));
    return { crop, box: boxOf(mine), mine };
  });
  const usual = median(Float64Array.from(characters, ({ crop }) => longer(crop)));
  return inOrder(characters.filter(({ crop }) => longer(crop) > 0.4 * usual), usual);
}

/** Return which character each part belongs to. */
function joinedTo(boxes) {
  const sizes = boxes.map((box) => Math.max(...sidesOf(box)));
  const largest = most(sizes);
  const usual = median(Float64Array.from(sizes.filter((size) => size > 0.5 * largest)));
  const gap = (one, other, low, high) => Math.max(one[low], other[low]) - Math.min(one[high], other[high]);
  const across = (one, other) => gap(one, other, "left", "right");
  const down = (one, other) => gap(one, other, "top", "bottom");
  const joined = boxes.map((_, i) => i);
  const join = (i, k) => {
    const [to, from] = [Math.min(joined[i], joined[k]), Math.max(joined[i], joined[k])];
    joined.forEach((one, part) => (joined[part] = one === from ? to : one));
  };
  boxes.forEach((one, i) => {
    const away = boxes.map((other, k) => (k === i ? Infinity : Math.max(across(one, other), down(one, other))));
    const nearest = Math.min(...away);
    boxes.forEach((other, k) => {
      // Dots and bits of a stroke belong to what is next to them.
      if (nearest < 0.35 * usual && sizes[i] < 0.45 * usual && away[k] === nearest) join(i, k);
      // So do halves one above the other that make no more than one character together.
      const narrower = Math.min(sidesOf(one)[0], sidesOf(other)[0]);
      const over = across(one, other) < -0.3 * narrower && down(one, other) < 0.15 * usual;
      const tall = Math.max(one.bottom, other.bottom) - Math.min(one.top, other.top);
      if (over && tall < 1.3 * usual) join(i, k);
    });
  });
  return joined;
}

/** Return characters of a `usual` size row by row; a row may climb or fall. */
function inOrder(characters, usual) {
  const rows = [];
  const middle = ({ box }) => (box.top + box.bottom) / 2;
  const sorted = [...characters].sort((one, other) => one.box.left - other.box.left);
  for (const one of sorted) {
    const steps = rows.map((row) => Math.abs(middle(one) - middle(row.at(-1))));
    const least = Math.min(...steps);
    if (least < 0.6 * usual) rows[steps.indexOf(least)].push(one);
    else rows.push([one]);
  }
  const height = (row) => sum(row.map(middle)) / row.length;
  return rows.sort((one, other) => height(one) - height(other)).flat();
}

/** Return whether a sheet was taken for ink: four straight sides, and mostly filled. */
function isPlate(kept) {
  const count = sum(kept.data);
  const [wide, high] = sidesOf(boxOf(kept));
  if (count < 0.3 * wide * high) return false; // of thin strokes; quickly told
  const hull = hullOf(kept);
  const area = Math.max(1, areaOf(hull));
  const extent = (axis) => Math.max(...hull.map((p) => p[axis])) - Math.min(...hull.map((p) => p[axis]));
  const sides = hull.length ? [extent(0), extent(1)] : [1, 1];
  if (count < 0.62 * area || Math.min(...sides) < 0.4 * Math.max(...sides)) return false;
  return areaOf(quadrilateral(hull)) > 0.9 * area;
}

/** Return the parts along the edge (a table, a thumb, holes) if a character stands free. */
function surroundings(parts, areas, boxes, many) {
  const { width, height, data } = parts;
  const touching = areas.map(() => 0);
  const side = (length, at) => {
    const counts = areas.map(() => 0);
    for (let i = 0; i < length; i++) counts[data[at(i)]] += 1;
    counts.forEach((count, part) => (touching[part] = Math.max(touching[part], count / length)));
  };
  side(width, (x) => x);
  side(width, (x) => (height - 1) * width + x);
  side(height, (y) => y * width);
  side(height, (y) => (y + 1) * width - 1);
  const all = numbers(areas);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const narrow = (part) => Math.min(...sidesOf(boxes[part]));
  const near = (part) => {
    const { left, top, right, bottom } = boxes[part];
    const low = left >= 0.92 * width || top >= 0.92 * height;
    return !many && (low || right <= 0.08 * width || bottom <= 0.08 * height);
  };
  const sliver = (part) => near(part) && narrow(part) < 0.06 * longer(parts)
    && size(part) > 4 * narrow(part); // of a desk, perhaps
  const strip = (part) => sliver(part) && narrow(part) < Math.min(0.025 * longer(parts), 7);
  const small = all.filter((part) =>
    !touching[part] && size(part) > 0.025 * longer(parts) && !sliver(part));
  const free = small.filter((part) => size(part) > 0.15 * longer(parts));
  if (!free.length) {
    const slivers = all.filter(sliver);
    return small.length || slivers.length > 1 ? slivers : [];
  }
  const inside = most(free.map((part) => areas[part]));
  const longest = most(free.map(size));
  const ends = (pick, key) => pick(...free.map((part) => boxes[part][key]));
  const around = {
    left: ends(Math.min, "left"), top: ends(Math.min, "top"),
    right: ends(Math.max, "right"), bottom: ends(Math.max, "bottom"),
  };
  const away = (part) => {
    const { left, top, right, bottom } = boxes[part];
    return Math.max(
      left - around.right, around.left - right, top - around.bottom, around.top - bottom);
  };
  const cutAround = sum(reaches(parts)) > 2; // the picture, around the character
  const along = all.filter((part) => {
    if (touching[part] > 0.4 && areas[part] < 50 * inside) return true;
    const slight = size(part) < 2 * longest || narrow(part) < 0.04 * longer(parts);
    if (!cutAround && touching[part] && slight) return true;
    if ((strip(part) || (near(part) && touching[part])) && away(part) > 0.25 * longest) return true;
    const { left, right } = boxes[part]; // a hole, beside the character: no dot above it
    const side = right <= 0.16 * width || left >= 0.84 * width;
    const beside = Math.max(left - around.right, around.left - right) > 0.25 * longest;
    return !many && side && beside && size(part) < 0.12 * longer(parts) && isDisc(areas[part], boxes[part]);
  });
  return [...along, ...holes(parts, areas, boxes)];
}

/** Return whether a part is a filled disc. */
function isDisc(area, box) {
  const [size, shorter] = [Math.max(...sidesOf(box)), Math.min(...sidesOf(box))];
  return shorter > 0.75 * size && Math.abs(area / (0.785 * size ** 2 + 1) - 0.95) < 0.2;
}

/** Return the parts that stand in a row along an edge: many alike, or two discs. */
function holes({ width, height }, areas, boxes) {
  const about = boxes.slice(1).map(({ left, top, right, bottom }, i) => {
    const size = Math.max(right - left, bottom - top);
    // A dot that a pen makes may be a disc, but not two alike, far apart.
    const round = isDisc(areas[i + 1], boxes[i + 1]);
    return { part: i + 1, at: [(top + bottom) / 2, (left + right) / 2], size, round };
  });
  const small = about.filter(({ size }) => size < 0.12 * Math.max(width, height));
  const found = new Set();
  for (const [axis, length] of [height, width].entries()) { // rows, columns
    for (const one of small) {
      if (Math.min(one.at[axis], length - one.at[axis]) >= 0.15 * length) continue;
      const row = small.filter(({ at, size }) =>
        Math.abs(at[axis] - one.at[axis]) < 0.5 * one.size && size > 0.6 * one.size && size < 1.6 * one.size);
      const apart = ({ at }) => Math.max(Math.abs(at[0] - one.at[0]), Math.abs(at[1] - one.at[1]));
      const discs = row.some((other) => other.round && apart(other) > 2.5 * one.size);
      if (row.length >= 5 || (one.round && discs)) row.forEach(({ part }) => found.add(part));
    }
  }
  return [...found];
}

/**
 * Return the frames that have something in them, and all that is in none: else nothing.
 *
 * A frame is a drawn box, or a ring around something as large as a character.
 */
function outsideFrame(parts, areas, boxes) {
  if (areas.length < 3) return [];
  const [within, frames] = [areas.map(() => 0), []];
  const largest = numbers(areas).sort((one, other) => areas[other] - areas[one]);
  for (const outer of largest.slice(0, MOST_PARTS)) {
    const place = areas[outer] ? cropped(parts, boxes[outer]) : null;
    const size = place ? place.data.length : 0;
    if (!place || longer(place) < 0.1 * longer(parts) || areas[outer] > 0.45 * size) continue;
    const mask = mapped(place, (part) => part === outer);
    let whole = filled(mask);
    const held = () => {
      const there = areas.map(() => 0);
      place.data.forEach((part, i) => (there[part] += whole.data[i] && !mask.data[i] ? 1 : 0));
      there[0] = 0;
      return there;
    };
    let there = held();
    const gap = !most(there) && place.data.some((part) => part && part !== outer);
    if (gap) { // the ends of its line may not meet
      whole = shut(mask, 0.11 * longer(place));
      there = held();
    }
    const inside = sum(whole.data.map((within, i) => within && !mask.data[i]));
    if (!most(there) || most(there) < 0.005 * inside || areas[outer] > 0.8 * inside) continue;
    const hull = hullOf(mask);
    const area = Math.max(1, areaOf(hull));
    const inner = numbers(areas).filter((part) => there[part]);
    const longest = most(inner.map((part) => Math.max(...sidesOf(boxes[part]))));
    const large = longest > 0.3 * longer(place);
    const thick = areas[outer] > Math.min(0.3 * size, 0.4 * inside); // a loop, and a speck
    if (thick && !large) continue;
    const ring = large && inside + sum(mask.data) > 0.92 * area;
    if (ring || ((large || !gap) && areaOf(quadrilateral(hull)) > 0.88 * area)) {
      frames.push(outer);
      there.forEach((count, part) => (within[part] += count));
    }
  }
  for (const frame of frames) within[frame] = 0;
  return most(within) ? numbers(areas).filter((part) => within[part] < areas[part]) : [];
}

/** Return a mask and all that is in it, as if gaps of twice `reach` were none. */
function shut(mask, reach) {
  const margin = Math.trunc(reach) + 2;
  const away = distances(mapped(padded(mask, margin), (inside) => !inside));
  const wide = mapped(away, (far) => far <= reach);
  const whole = mapped(distances(filled(wide)), (far) => far > reach);
  const [right, bottom] = [margin + mask.width, margin + mask.height];
  return cropped(whole, { left: margin, top: margin, right, bottom });
}

/** Return whether a kept part is a frame: it goes around another, or is long and very thin. */
function framed(parts, areas, boxes, pen) {
  const kept = numbers(areas).filter((part) => areas[part]);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const main = areas.indexOf(most(areas));
  return kept.some((outer) => {
    if (size(outer) > 0.8 * size(main) && areas[outer] < 0.45 * pen * size(outer)) return true;
    const box = boxes[outer];
    const inner = kept.filter((part) => {
      const { left, top, right, bottom } = boxes[part];
      const inside =
        left > box.left && top > box.top && right < box.right && bottom < box.bottom;
      return inside && size(part) > 0.25 * size(outer);
    });
    if (!inner.length) return false;
    const near = cropped(parts, box);
    const inside = filled(mapped(near, (part) => part === outer)).data;
    return inner.some((part) => near.data.every((other, i) => other !== part || inside[i]));
  });
}

/** Return the numbers of all parts, from 1. */
function numbers(areas) {
  return [...areas.keys()].slice(1);
}
