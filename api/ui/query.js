// The query page. Its address says what it shows, in the members that links to Prometheus have.
"use strict";

const ROWS_MAX = 5000;

function queryPage() {
  const asked = new URLSearchParams(location.search);
  const state = {
    expression: asked.get("g0.expr") || "",
    graph: asked.get("g0.tab") === "0" || asked.get("g0.tab") === "graph",
    range: asked.get("g0.range_input") || "1h",
    end: asked.get("g0.end_input") || asked.get("g0.moment_input") || "",
    step: asked.get("g0.step_input") || "",
  };
  let running = null;
  const output = element("div", { id: "output", "aria-live": "polite" });
  const expression = element("textarea", {
    id: "expression", rows: 3, spellcheck: "false", "aria-label": "PromQL expression",
    placeholder: "PromQL; Ctrl-Enter runs it",
    keydown: (event) => {
      if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); run(); }
    },
  });
  expression.value = state.expression;
  const names = element("datalist", { id: "names" });
  const metric = element("input", {
    list: "names", placeholder: "insert a metric", "aria-label": "Metric name",
    change: () => {
      expression.setRangeText(metric.value, expression.selectionStart, expression.selectionEnd, "end");
      metric.value = "";
      expression.focus();
    },
  });
  const field = (name, size, hint) => {
    const made = element("input", {
      size, placeholder: hint, "aria-label": hint,
      change: () => { state[name] = made.value.trim(); if (state.expression) run(); },
    });
    made.value = state[name];
    return made;
  };
  const tabs = [["Table", false], ["Graph", true]].map(([title, isGraph]) => element("button", {
    type: "button", "aria-pressed": String(state.graph === isGraph),
    click: () => {
      state.graph = isGraph;
      tabs.forEach((each, number) => each.setAttribute("aria-pressed", String(state.graph === Boolean(number))));
      if (expression.value.trim()) run();
    },
  }, title));
  show(
    expression,
    element("div", { class: "row" },
      element("button", { type: "button", id: "run", click: () => run() }, "Run"), tabs,
      element("label", {}, "Range ", field("range", 6, "1h")),
      element("label", {}, "End ", field("end", 20, "now, or 2026-01-31 12:00")),
      element("label", {}, "Step ", field("step", 5, "auto")),
      element("span", { class: "names" }, metric), names),
    output);

  function remember() {
    const kept = new URLSearchParams({ "g0.expr": state.expression, "g0.tab": state.graph ? "0" : "1" });
    kept.set("g0.range_input", state.range);
    if (state.end) kept.set("g0.end_input", state.end);
    if (state.step) kept.set("g0.step_input", state.step);
    history.replaceState(null, "", "?" + kept);
  }

  async function run() {
    state.expression = expression.value.trim();
    if (!state.expression) return;
    remember();
    if (running) running.abort();
    const mine = running = new AbortController();
    const begin = performance.now();
    output.replaceChildren(element("p", { class: "note" }, "Running ..."));
    try {
      const end = state.end ? Date.parse(state.end.replace(" ", "T").replace(/Z?$/, "Z")) / 1000 : Date.now() / 1000;
      if (!Number.isFinite(end)) throw new Error(`no time: ${state.end}`);
      const found = state.graph ? await range(end, mine.signal) : await instant(end, mine.signal);
      const took = `${Math.round(performance.now() - begin)} ms`;
      output.replaceChildren(element("p", { class: "note" }, `${found.count}, ${took}`), ...found.parts);
    } catch (error) {
      if (!mine.signal.aborted) output.replaceChildren(failure(error));
    }
  }

  async function range(end, signal) {
    const seconds = durationSeconds(state.range);
    if (!(seconds > 0)) throw new Error(`no duration: ${state.range}`);
    const step = state.step ? durationSeconds(state.step) : Math.max(Math.floor(seconds / 250), 1);
    if (!(step > 0)) throw new Error(`no duration: ${state.step}`);
    const told = await ask("query_range", { query: state.expression, start: end - seconds, end, step }, signal);
    const result = told.data.result;
    return { count: `${result.length} series`, parts: [...notes(told), graph(result, end - seconds, end, step)] };
  }

  async function instant(end, signal) {
    const told = await ask("query", { query: state.expression, time: end }, signal);
    const { resultType, result } = told.data;
    if (resultType === "scalar" || resultType === "string") {
      return { count: resultType, parts: [...notes(told), table(["value"], [[result[1]]])] };
    }
    const rows = result.slice(0, ROWS_MAX).map((each) => [labelCell(each.metric), valueText(each)]);
    const parts = [...notes(told), table(["series", "value"], rows)];
    if (result.length > ROWS_MAX) {
      parts.push(element("p", { class: "note" }, `${ROWS_MAX} of ${result.length} are shown.`));
    }
    return { count: `${result.length} series`, parts };
  }

  if (state.expression) run();
  ask("label/__name__/values?limit=20000").then((told) => {
    names.replaceChildren(...told.data.map((name) => element("option", { value: name })));
  }, () => {});
}

function notes(told) {
  return [...(told.warnings || []), ...(told.infos || [])].map((text) => element("div", { class: "warning" }, text));
}

function labelCell(labels) {
  return element("span", { class: "labels" }, labelsText(labels));
}

function valueText(series) {
  if (series.value) return element("span", {}, series.value[1]);
  if (series.histogram) return histogramText(series.histogram[1]);
  const floats = (series.values || []).map(([time, value]) => `${value} @${time}`);
  const histograms = (series.histograms || []).map(([time, value]) => `count ${value.count}, sum ${value.sum} @${time}`);
  return element("pre", {}, [...floats, ...histograms].join("\n"));
}

function histogramText(value) {
  const edges = [["(", "]"], ["[", ")"], ["(", ")"], ["[", "]"]];
  const rows = (value.buckets || []).map(([rule, low, high, count]) =>
    `${edges[rule][0]}${low}, ${high}${edges[rule][1]}: ${count}`);
  return element("details", {}, element("summary", {}, `count ${value.count}, sum ${value.sum}`),
    element("pre", {}, rows.join("\n")));
}
