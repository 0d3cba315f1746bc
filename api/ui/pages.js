// The other pages, each a function of what the API tells; and which page an address is.
"use strict";

function heading(text) {
  return element("h1", {}, text);
}

function keyed(members) {
  return table(["name", "value"], Object.entries(members).map(([name, value]) => [name, String(value)]));
}

function labelList(labels) {
  return element("span", { class: "labels" }, labelsText(labels, true));
}

async function targetsPage() {
  const { data } = await ask("targets?state=active");
  const filter = element("input", { placeholder: "filter by address, label or error", size: 40, input: () => fill() });
  const sick = element("input", { type: "checkbox", change: () => fill() });
  const list = element("div", {});
  const fill = () => {
    const wanted = filter.value.toLowerCase();
    const pools = new Map();
    for (const each of data.activeTargets) {
      if (sick.checked && each.health === "up") continue;
      const text = `${each.scrapeUrl} ${labelsText(each.labels, true)} ${each.lastError}`.toLowerCase();
      if (!text.includes(wanted)) continue;
      if (!pools.has(each.scrapePool)) pools.set(each.scrapePool, []);
      pools.get(each.scrapePool).push(each);
    }
    list.replaceChildren(...[...pools].sort().flatMap(([pool, targets]) => [
      element("h2", {}, `${pool} (${targets.filter((each) => each.health === "up").length} of ${targets.length} up)`),
      table(["endpoint", "state", "labels", "last scrape", "took", "error"], targets.map((each) => [
        each.scrapeUrl,
        element("span", { class: each.health === "up" ? "good" : each.health === "down" ? "bad" : "note" }, each.health),
        labelList(each.labels), agoText(each.lastScrape), `${(each.lastScrapeDuration * 1000).toFixed(1)} ms`,
        each.lastError,
      ]))]));
    if (!pools.size) list.append(element("p", { class: "note" }, "No targets."));
  };
  fill();
  show(heading("Targets"), element("div", { class: "row" }, filter, element("label", {}, sick, " only unhealthy")), list);
}

async function discoveryPage() {
  const { data } = await ask("targets");
  const pools = new Map();
  const pool = (name) => pools.get(name) || pools.set(name, { active: [], dropped: [] }).get(name);
  for (const each of data.activeTargets) pool(each.scrapePool).active.push(each);
  for (const each of data.droppedTargets) pool(each.scrapePool).dropped.push(each);
  const parts = [...pools].sort().map(([name, { active, dropped }]) => {
    const total = data.droppedTargetCounts[name] ?? dropped.length;
    const rows = [
      ...active.map((each) => [labelList(each.discoveredLabels), labelList(each.labels)]),
      ...dropped.map((each) => [labelList(each.discoveredLabels), element("span", { class: "note" }, "dropped")]),
    ].slice(0, 1000);
    return element("details", {}, element("summary", {}, `${name} (${active.length} active, ${total} dropped)`),
      table(["discovered labels", "target labels"], rows));
  });
  show(heading("Service discovery"), ...(parts.length ? parts : [element("p", { class: "note" }, "Nothing was discovered.")]));
}

async function tsdbPage() {
  const { data } = await ask("status/tsdb?limit=20");
  const head = data.headStats;
  const lists = [
    ["Series by metric name", "seriesCountByMetricName"], ["Values by label name", "labelValueCountByLabelName"],
    ["Memory by label name, bytes", "memoryInBytesByLabelName"], ["Series by label pair", "seriesCountByLabelValuePair"],
  ];
  show(heading("TSDB status"),
    keyed({
      "series": head.numSeries, "chunks": head.chunkCount, "label pairs": head.numLabelPairs,
      "oldest sample": head.minTime > 0 && head.minTime < 8e15 ? timeText(head.minTime / 1000) : "none",
      "newest sample": head.maxTime > 0 && head.maxTime < 8e15 ? timeText(head.maxTime / 1000) : "none",
    }),
    ...lists.flatMap(([title, member]) => [
      element("h2", {}, title), table(["name", "count"], data[member].map((each) => [each.name, each.value]))]));
}

async function statusPage() {
  const [runtime, build] = await Promise.all([ask("status/runtimeinfo"), ask("status/buildinfo")]);
  show(heading("Status"), element("h2", {}, "Runtime"), keyed(runtime.data), element("h2", {}, "Build"), keyed(build.data));
}

async function flagsPage() {
  show(heading("Flags"), keyed((await ask("status/flags")).data));
}

async function configPage() {
  show(heading("Configuration"), element("pre", {}, (await ask("status/config")).data.yaml));
}

async function alertsPage() {
  const { data } = await ask("alerts");
  show(heading("Alerts"), data.alerts.length
    ? table(["labels", "state", "since", "value"],
      data.alerts.map((each) => [labelList(each.labels), each.state, each.activeAt || "", each.value]))
    : element("p", { class: "note" }, "No alerts."));
}

async function rulesPage() {
  const { data } = await ask("rules");
  show(heading("Rules"), ...(data.groups.length
    ? data.groups.flatMap((group) => [
      element("h2", {}, `${group.name} (${group.file})`),
      table(["name", "query", "health", "error"],
        group.rules.map((each) => [each.name, each.query, each.health, each.lastError || ""]))])
    : [element("p", { class: "note" }, "No rules: Gnomon does not evaluate rules yet.")]));
}

async function alertmanagersPage() {
  const { data } = await ask("alertmanagers");
  show(heading("Alertmanagers"), data.activeAlertmanagers.length
    ? table(["url"], data.activeAlertmanagers.map((each) => [each.url]))
    : element("p", { class: "note" }, "No Alertmanagers."));
}

const PAGES = {
  "query": queryPage, "graph": queryPage, "alerts": alertsPage, "rules": rulesPage, "targets": targetsPage,
  "service-discovery": discoveryPage, "alertmanager-discovery": alertmanagersPage, "tsdb-status": tsdbPage,
  "status": statusPage, "flags": flagsPage, "config": configPage,
};

async function open() {
  const name = location.pathname.split("/").pop() || "query";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === name) link.setAttribute("aria-current", "page");
  }
  try {
    await (PAGES[name] || queryPage)();
  } catch (error) {
    show(failure(error));
  }
}

open();
