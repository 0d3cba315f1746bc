// What all pages use: elements, the API, labels and times as text. Nothing is ever parsed as HTML.
"use strict";

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return made;
}

function show(...children) {
  document.getElementById("main").replaceChildren(...children);
}

// Relative, so that it holds under any prefix that a proxy puts before it.
async function ask(path, parameters, signal) {
  const form = parameters && new URLSearchParams(parameters);
  const reply = await fetch("api/v1/" + path, form ? { method: "POST", body: form, signal } : { signal });
  const type = reply.headers.get("Content-Type") || "";
  if (!type.startsWith("application/json")) {
    throw new Error(`${reply.status}: ${(await reply.text()).trim()}`);
  }
  const told = await reply.json();
  if (told.status !== "success") throw new Error(`${told.errorType}: ${told.error}`);
  return told;
}

function labelsText(labels, withoutName) {
  const pairs = Object.entries(labels).filter(([name]) => name !== "__name__" || withoutName);
  const inside = pairs.map(([name, value]) => {
    const shown = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) ? name : JSON.stringify(name);
    return `${shown}=${JSON.stringify(value)}`;
  });
  const name = withoutName ? "" : labels.__name__ || "";
  return inside.length || !name ? `${name}{${inside.join(", ")}}` : name;
}

function timeText(seconds) {
  return new Date(seconds * 1000).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, "");
}

function agoText(moment) {
  const seconds = (Date.now() - Date.parse(moment)) / 1000;
  if (!(seconds < 1e9)) return "never";
  return seconds < 120 ? `${seconds.toFixed(1)} s ago` : `${Math.round(seconds / 60)} min ago`;
}

function table(headings, rows) {
  const cell = (value) =>
    value instanceof Node ? element("td", {}, value)
      : element("td", typeof value === "number" ? { class: "number" } : {}, String(value));
  return element("table", {},
    element("thead", {}, element("tr", {}, headings.map((each) => element("th", {}, each)))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell)))));
}

function failure(error) {
  return element("div", { class: "error", role: "alert" }, error.message || String(error));
}

// "1h30m" -> seconds; NaN for what is no duration.
function durationSeconds(text) {
  const units = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  if (!/^(\d+(ms|[smhdwy]))+$/.test(text)) return NaN;
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[smhdwy])/g)) seconds += count * units[unit];
  return seconds;
}
