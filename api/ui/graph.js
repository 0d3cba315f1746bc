// A matrix as lines in SVG: axes, a legend, and the values under the pointer.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const LINES_MAX = 100;
const FRAME = { left: 64, right: 12, top: 10, bottom: 24, width: 1000, height: 352 };

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function colour(number) {
  return `hsl(${(number * 137.5) % 360} 62% 48%)`;
}

function numberText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e15 || size < 1e-4)) return value.toExponential(2);
  for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return `${Number((value / unit).toPrecision(4))}${letter}`;
  }
  return String(Number(value.toPrecision(4)));
}

// Round numbers between low and high, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found;
}

function graph(result, start, end, step) {
  const lines = result.filter((each) => each.values).slice(0, LINES_MAX).map((each) => ({
    labels: each.metric,
    points: each.values.map(([time, text]) => [time, Number(text)]).filter((each) => Number.isFinite(each[1])),
  }));
  let low = Infinity, high = -Infinity;
  for (const line of lines) for (const [, value] of line.points) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return element("p", { class: "note" }, "Nothing to draw.");
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  const { left, right, top, bottom, width, height } = FRAME;
  const x = (time) => left + ((time - start) / (end - start || 1)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none" });
  for (const value of ticks(low, high, 6)) {
    picture.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    picture.append(drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, numberText(value)));
  }
  for (let at = 0; at <= 6; at++) {
    const time = start + ((end - start) * at) / 6;
    const shown = end - start > 86400 ? timeText(time).slice(5, 16) : timeText(time).slice(11, 19);
    const anchor = at === 0 ? "start" : at === 6 ? "end" : "middle";
    picture.append(drawn("text", { x: x(time), y: height - 6, "text-anchor": anchor }, shown));
  }
  lines.forEach((line, number) => {
    // A gap of more than a step ends a run.
    let run = [];
    const flush = () => {
      if (run.length) {
        const [time, value] = run[0];
        const points = run.length > 1 ? run : [[time, value], [time + step / 4, value]];
        picture.append(drawn("polyline", {
          points: points.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" "),
          stroke: colour(number),
        }));
      }
      run = [];
    };
    for (const point of line.points) {
      if (run.length && point[0] - run[run.length - 1][0] > step * 1.5) flush();
      run.push(point);
    }
    flush();
  });
  const cursor = drawn("line", { class: "grid", y1: top, y2: height - bottom, x1: -9, x2: -9 });
  picture.append(cursor);
  const moment = element("p", { class: "note" }, "UTC; point at the graph for its values.");
  const values = lines.map(() => element("td", { class: "number" }));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    const time = start + ((at - left) / (width - left - right)) * (end - start);
    const nearest = start + Math.round((time - start) / step) * step;
    cursor.setAttribute("x1", x(nearest));
    cursor.setAttribute("x2", x(nearest));
    moment.textContent = timeText(nearest) + " UTC";
    lines.forEach((line, number) => {
      const found = line.points.find(([each]) => Math.abs(each - nearest) < step / 2);
      values[number].textContent = found ? String(found[1]) : "";
    });
  });
  const legend = element("table", {}, lines.map((line, number) => {
    const key = drawn("svg", { class: "key", viewBox: "0 0 1 1" });
    key.append(drawn("rect", { width: 1, height: 1, fill: colour(number) }));
    const name = element("td", { class: "labels" }, labelsText(line.labels));
    name.prepend(key);
    return element("tr", {}, name, values[number]);
  }));
  const more = result.length > lines.length
    ? element("p", { class: "note" }, `${lines.length} of ${result.length} series are drawn.`) : null;
  return element("div", {}, picture, moment, more, legend);
}
