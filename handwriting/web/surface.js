// Find what is written on (a sheet, a note, a board, the inside of a frame) and straighten it:
// `handwriting.surface`.

import {
  bounded, filled, gaussian, grid, grown, labelled, longer, mapped, reaches, shrunk, slopes, sum,
  within,
} from "./images.js";

const SMALL = 224; // longest side while surfaces are looked for, in pixels
const LARGEST = 1024; // longest side of a straightened surface
const SHARE = [0.03, 0.93]; // of the picture that a surface covers
const INSET = 0.004; // of a side: what is cut off along it, edge or frame

/**
 * Yield the surfaces in a picture, straightened and upright, largest first.
 *
 * @param {object[]} picture grids of red, green and blue.
 * @yields {{colours, onto}} the same of the surface; and what leads from its pixels to the
 *   picture's, three rows of three numbers.
 */
export function* surfaces(picture) {
  const small = picture.map((colour) => within(colour, SMALL));
  const steep = small.map((colour) => slopes(gaussian(colour, 0.7)).data);
  const found = [];
  for (const least of [3, 7, 14]) { // of faint frames, of texture
    const even = mapped(small[0], (_, i) => steep.every((values) => values[i] < least));
    for (const region of large(even)) {
      const whole = filled(region);
      const corners = cornersOf(region, whole);
      if (!corners || found.some((other) => same(corners, other.corners))) continue;
      found.push({ corners, region, whole });
    }
  }
  found.sort((one, other) => areaOf(other.corners) - areaOf(one.corners));
  const scale = longer(picture[0]) / longer(small[0]);
  for (const one of found.slice(0, 4)) yield straightened(picture, one, small, scale);
}

/** Return the large connected parts of a mask, each as one. */
function large(even) {
  const { parts, areas } = labelled(even, false);
  const least = SHARE[0] * even.data.length;
  const kept = [...areas.keys()].filter((part) => part && areas[part] > least);
  return kept.map((part) => mapped(parts, (other) => other === part));
}

/**
 * Return the corners of a surface, clockwise from the upper left; null for what is no surface: not
 * straight all around, the whole picture, or empty. `whole` is the region with its holes filled.
 */
function cornersOf(region, whole) {
  const hull = hullOf(whole);
  const area = areaOf(hull);
  const size = region.data.length;
  if (area <= SHARE[0] * size || area >= SHARE[1] * size) return null;
  // Something is drawn on it: in its holes, or in bays where a stroke reaches the edge.
  const inner = shrunk(shrunk(whole)).data;
  const drawn = inner.filter((inside, i) => inside && !region.data[i]).length;
  if (sum(whole.data) < 0.88 * area || drawn < Math.max(6, 0.0008 * area)) return null;
  let corners = quadrilateral(hull);
  if (corners.length < 4) return null;
  if (areaOf(corners) < 0.94 * area) { // a corner or an edge lies out of sight
    if (sum(reaches(whole)) > 2) return null; // a character that fills the picture
    corners = rectangle(hull);
  }
  const sides = lengths(corners);
  if (areaOf(corners) > 1.15 * area || Math.max(...sides) > 4 * Math.min(...sides)) return null;
  const sums = corners.map(([x, y]) => x + y);
  const first = sums.indexOf(Math.min(...sums));
  return [...corners.slice(first), ...corners.slice(0, first)];
}

/** Return the corners of a mask's convex hull: Andrew's monotone chain over each row's ends. */
export function hullOf({ width, height, data }) {
  const points = [];
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width);
    if (row.includes(1)) points.push([row.indexOf(1), y], [row.lastIndexOf(1), y]);
  }
  const extent = (axis) => {
    const values = points.map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  };
  if (!points.length || Math.min(extent(0), extent(1)) < 4) return [];
  const chain = (ordered) => {
    const kept = [];
    for (const point of ordered) {
      while (kept.length > 1 && turn(kept.at(-2), kept.at(-1), point) <= 0) kept.pop();
      kept.push(point);
    }
    return kept.slice(0, -1);
  };
  points.sort(([x, y], [otherX, otherY]) => x - otherX || y - otherY);
  return [...chain(points), ...chain(points.reverse())];
}

function turn([x, y], [x1, y1], [x2, y2]) {
  return (x1 - x) * (y2 - y) - (y1 - y) * (x2 - x);
}

/** Return the four of convex points that cover most of their area. */
export function quadrilateral(hull) {
  const left = [...hull];
  while (left.length > 4) { // without the one that matters least
    const lost = left.map((point, i) => turn(left.at(i - 1), point, left[(i + 1) % left.length]));
    left.splice(lost.indexOf(Math.min(...lost)), 1);
  }
  return left;
}

/** Return the corners of the smallest rectangle around convex points. */
function rectangle(hull) {
  let [best, least] = [hull, Infinity];
  hull.forEach(([x, y], i) => {
    const [nextX, nextY] = hull[(i + 1) % hull.length];
    const length = Math.hypot(nextX - x, nextY - y);
    const [c, s] = [(nextX - x) / length, (nextY - y) / length];
    const along = hull.map((point) => c * point[0] + s * point[1]);
    const across = hull.map((point) => c * point[1] - s * point[0]);
    const [left, right] = [Math.min(...along), Math.max(...along)];
    const [top, bottom] = [Math.min(...across), Math.max(...across)];
    const area = (right - left) * (bottom - top);
    if (area >= least) return;
    const box = [[left, top], [right, top], [right, bottom], [left, bottom]];
    [best, least] = [box.map(([a, b]) => [a * c - b * s, a * s + b * c]), area];
  });
  return best;
}

/** Return the area of a polygon; of one that goes clockwise as seen, y down. */
export function areaOf(corners) {
  return sum(corners.map((point, i) => turn([0, 0], point, corners[(i + 1) % corners.length]))) / 2;
}

function lengths(corners) {
  return corners.map(([x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % corners.length];
    return Math.hypot(nextX - x, nextY - y);
  });
}

function same(corners, others) {
  return corners.every((point, i) => point.every((value, axis) => Math.abs(value - others[i][axis]) < 5));
}

/** Return the surface alone; what is not in its hull becomes like the paper near it. */
function straightened(picture, { corners, region, whole }, small, scale) {
  const sides = lengths(corners).map((length) => length * scale);
  const wanted = [Math.max(sides[0], sides[2]), Math.max(sides[1], sides[3])];
  const less = Math.min(1, LARGEST / Math.max(...wanted));
  const [width, height] = wanted.map((side) => Math.trunc(Math.max(16, side * less)));
  const middle = [0, 1].map((axis) => sum(corners.map((point) => point[axis])) / 4);
  const inner = corners.map((point) =>
    point.map((value, axis) => value + 0.5 + (middle[axis] - value) * 2 * INSET));
  const onto = [[0, 0], [width, 0], [width, height], [0, height]];
  const scaled = inner.map((point) => point.map((value) => value * scale));
  const [large, coarse] = [perspective(onto, scaled), perspective(onto, inner)];
  const colours = picture.map((colour) => transformed(colour, width, height, large));
  const outside = mapped(grown(whole), (inside) => (inside ? 0 : 255));
  const cover = transformed(outside, width, height, coarse);
  if (sum(cover.data) > cover.data.length) {
    const known = gaussian(region, 12).data;
    small.forEach((colour, band) => {
      const values = mapped(colour, (value, i) => value * region.data[i], Float32Array);
      const blurred = gaussian(values, 12);
      const near = mapped(blurred, (value, i) => bounded(value / (known[i] + 1e-3), 255));
      const paper = transformed(near, width, height, coarse);
      colours[band] = mapped(colours[band], (value, i) => mixed(value, paper.data[i], cover.data[i]));
    });
  }
  const [a, b, c, d, e, f, g, h] = large;
  return { colours, onto: [[a, b, c], [d, e, f], [g, h, 1]] };
}

/** Return one value with another over it, which covers so much of 255: Pillow's paste. */
function mixed(value, over, cover) {
  const both = value * (255 - cover) + over * cover + 128;
  return ((both >> 8) + both) >> 8;
}

/** Return the eight numbers that lead from four points to four others, as Pillow takes them. */
function perspective(seen, there) {
  const rows = [];
  seen.forEach(([x, y], i) => {
    const [u, v] = there[i];
    rows.push([x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -v * x, -v * y, v]);
  });
  for (let k = 0; k < 8; k++) { // Gauss and Jordan, the largest pivot first
    const sizes = rows.map((row, i) => (i < k ? -1 : Math.abs(row[k])));
    const pivot = sizes.indexOf(Math.max(...sizes));
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    rows[k] = rows[k].map((value) => value / rows[k][k]);
    rows.forEach((row, i) => {
      if (i !== k) rows[i] = row.map((value, column) => value - row[k] * rows[k][column]);
    });
  }
  return rows.map((row) => row[8]);
}

/** Return a picture seen through eight numbers of `perspective`: Pillow's transform, bilinear. */
function transformed({ width: wide, height: high, data }, width, height, numbers) {
  const [a, b, c, d, e, f, g, h] = numbers;
  const result = grid(width, height);
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      const [x, y] = [column + 0.5, row + 0.5];
      const depth = g * x + h * y + 1;
      const [u, v] = [(a * x + b * y + c) / depth, (d * x + e * y + f) / depth];
      if (u < 0 || u >= wide || v < 0 || v >= high) continue;
      const [left, top] = [Math.floor(u - 0.5), Math.floor(v - 0.5)];
      const [dx, dy] = [u - 0.5 - left, v - 0.5 - top];
      const [first, second] = [Math.max(0, left), Math.min(wide - 1, left + 1)];
      const mixedAt = (y) => {
        const start = Math.max(0, Math.min(high - 1, y)) * wide;
        const value = data[start + first];
        return value + (data[start + second] - value) * dx;
      };
      const upper = mixedAt(top);
      result.data[i] = upper + (mixedAt(top + 1) - upper) * dy; // without its fraction
    }
  }
  return result;
}
