// The page: what is chosen stands behind "#?", so that a link carries it; everything is drawn again when it changes.
(() => {
  const { data, filters, dimensions, words } = usage;
  const { h, s, t, count, compact, percent, duration, exact, short } = drawing;
  const root = document.documentElement;
  addEventListener("error", (event) => { root.dataset.broken = event.message; });

  const TONES = 7;
  const SHOWN = 8; // rows of a list before somebody asks for more
  const state = { measure: data.currencies.length ? "cost.0" : "calls", split: "model", theme: "", language: "" };
  const open = new Set(); // the lists that are shown whole, and the tables that are open
  const values = new Map(data.words.map((one) => [one.word, one]));
  const used = new Map(words.map((word) => [word, new Set()]));
  for (const group of data.cube.groups) group.forEach((place, at) => used.get(words[at]).add(place));
  const measures = [...data.currencies.map((_, at) => `cost.${at}`), "calls", "tokens"];
  const splits = words.filter((word) => used.get(word).size > 1 || word === "model");

  // names and numbers
  // The tones of a word's values: those that come to most of the measure have one, whatever the filters are.
  const tones = new Map();
  function tone(word, place) {
    const key = `${word} ${state.measure}`;
    if (!tones.has(key)) {
      const sums = new Map();
      for (const one of usage.rows(word)) sums.set(one.place, (sums.get(one.place) || 0) + numeric(one.value, state.measure));
      const ranked = [...sums].filter(([at, sum]) => sum > 0 && at < values.get(word).values.length).sort((one, other) => other[1] - one[1] || one[0] - other[0]);
      tones.set(key, new Map(ranked.slice(0, TONES).map(([at], rank) => [at, `s${rank}`])));
    }
    return tones.get(key).get(place) || "sx";
  }
  function nameOf(dimension, place) {
    if (dimension === "period") return data.periods[place];
    const one = values.get(dimension);
    if (place >= one.values.length) return t("others", { count: one.folded || 1 });
    return one.values[place] || t("none");
  }
  const isAmount = (name) => name.includes(".");
  const currencyOf = (name) => data.currencies[Number(name.split(".")[1])];
  const moneyAt = () => (isAmount(state.measure) ? Number(state.measure.split(".")[1]) : 0);
  const read = (sum, name) => (name === "tokens" ? sum.tokens : sum.get(name));
  const numeric = (sum, name) => (sum ? Number(read(sum, name)) : 0);
  const said = (sum, name) => (isAmount(name) ? exact(sum.get(name), currencyOf(name)) : count(read(sum, name)));
  const brief = (value, name) => (isAmount(name) ? short(BigInt(Math.round(value)), currencyOf(name)) : compact(value));
  const measureName = (name) => (isAmount(name) ? (data.currencies.length > 1 ? t("cost_in", { currency: currencyOf(name) }) : t("cost")) : t(name));
  const inPhrase = (word) => (drawing.language() === "en" ? t(word).toLowerCase() : t(word));
  const byUnit = () => t(`by_${data.unit}`);
  const savedName = () => (data.currencies.length > 1 ? t("saved_in", { currency: data.currencies[moneyAt()] }) : t("saved"));

  // filters
  function toggle(dimension, place) {
    const wanted = filters.get(dimension);
    if (!wanted.delete(place)) wanted.add(place);
    changed();
  }
  function pick(periods, add) {
    const wanted = filters.get("period");
    const same = wanted.size === periods.length && periods.every((at) => wanted.has(at));
    if (!add || same) wanted.clear();
    if (!same) for (const at of periods) wanted.add(at);
    if (wanted.size === data.periods.length) wanted.clear();
    changed();
  }
  function runs(places) {
    const found = [];
    for (const at of [...places].sort((one, other) => one - other)) {
      const last = found[found.length - 1];
      if (last && last[1] === at - 1) last[1] = at;
      else found.push([at, at]);
    }
    return found;
  }

  // the link
  const REST = "\u2026"; // stands for the others; no name of theirs is shown
  function remember() {
    const found = new URLSearchParams();
    for (const word of words) {
      for (const place of filters.get(word)) found.append(word, values.get(word).values[place] ?? REST);
    }
    for (const [from, to] of runs(filters.get("period"))) {
      found.append("period", from === to ? data.periods[from] : `${data.periods[from]}..${data.periods[to]}`);
    }
    if (state.measure !== measures[0]) found.set("measure", state.measure);
    if (state.split !== "model") found.set("split", state.split);
    for (const name of ["theme", "language"]) if (state[name]) found.set(name, state[name]);
    const text = found.toString();
    history.replaceState(null, "", text ? `#?${text}` : "#");
  }
  function recall() {
    if (!location.hash.startsWith("#?") && location.hash.length > 1) return;
    const found = new URLSearchParams(location.hash.slice(2));
    for (const word of words) {
      const one = values.get(word);
      const places = found.getAll(word).map((name) => (name === REST && !one.values.includes(REST) ? one.values.length : one.values.indexOf(name)));
      filters.get(word).clear();
      for (const place of places) if (used.get(word).has(place)) filters.get(word).add(place);
    }
    filters.get("period").clear();
    for (const text of found.getAll("period")) {
      const [from, to] = text.split("..").map((label) => data.periods.indexOf(label));
      if (from < 0) continue;
      for (let at = from; at <= (to === undefined ? from : to); at += 1) filters.get("period").add(at);
    }
    if (measures.includes(found.get("measure"))) state.measure = found.get("measure");
    if (splits.includes(found.get("split"))) state.split = found.get("split");
    setTheme(found.get("theme") || state.theme);
    setLanguage(found.get("language") || state.language);
  }

  // theme and language
  function press(name, value) {
    for (const button of document.querySelectorAll(`[data-set-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.getAttribute(`data-set-${name}`) === value));
    }
  }
  function setTheme(theme) {
    state.theme = theme === "light" || theme === "dark" ? theme : "";
    if (state.theme) root.dataset.theme = state.theme;
    else delete root.dataset.theme;
    press("theme", state.theme || "auto");
  }
  function setLanguage(name) {
    if (name) {
      state.language = name.startsWith("zh") ? "zh" : "en";
      root.lang = state.language === "zh" ? "zh-Hans" : "en";
    }
    press("language", drawing.language());
    for (const one of document.querySelectorAll("[data-word]")) one.textContent = t(one.dataset.word);
    document.title = `${t("usage")} · llmtask`;
  }

  // pieces
  function button(key, attributes, ...children) {
    return h("button", { type: "button", "data-key": key, ...attributes }, ...children);
  }
  function card(title, note, ...children) {
    return h("figure", { class: "card" }, h("figcaption", {}, h("h3", {}, title), note ? h("small", {}, note) : ""), ...children);
  }
  function table(key, name, make) {
    const details = h("details", { class: "data", "data-table": key }, h("summary", { "data-key": `table:${key}`, "aria-label": t("table_of", { name }) }, t("table")));
    const fill = () => {
      if (details.querySelector("table")) return;
      const { head, rows } = make();
      const cell = (text, at, tag = "td") => h(tag, at ? { class: "num" } : {}, text);
      details.append(h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("table_of", { name }) }, h("table", {},
        h("thead", {}, h("tr", {}, head.map((text, at) => h("th", { scope: "col", class: at ? "num" : null }, text)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, row.map((text, at) => (at ? cell(text, at) : h("th", { scope: "row" }, text)))))))));
    };
    if (open.has(key)) { details.open = true; fill(); }
    details.addEventListener("toggle", () => {
      if (details.open) { open.add(key); fill(); } else open.delete(key);
    });
    return details;
  }
  function folding(key, items, draw) {
    const shown = open.has(key) ? items : items.slice(0, SHOWN);
    const more = items.length > SHOWN
      ? button(`more:${key}`, { class: "plain more", "aria-expanded": String(open.has(key)) }, open.has(key) ? t("fewer") : t("more", { count: items.length - SHOWN }))
      : "";
    if (more) more.addEventListener("click", () => { if (!open.delete(key)) open.add(key); redraw(); });
    return [h("ul", { class: "rows" }, shown.map(draw)), more];
  }
  // A row of a list: a button that filters, a bar and what it says.
  function row(list, word, place, share, value, note) {
    const wanted = filters.get(word);
    const line = button(`${list}:${word}:${place}`, { class: "row", "aria-pressed": String(wanted.has(place)), title: nameOf(word, place), "data-word-name": word, "data-place": place },
      h("span", { class: "name" }, h("bdi", {}, nameOf(word, place))), h("span", { class: "value" }, value, note ? h("small", {}, note) : ""), drawing.bar(share, word === state.split ? tone(word, place) : "plain"));
    line.addEventListener("click", () => toggle(word, place));
    return h("li", { class: wanted.size && !wanted.has(place) ? "dim" : null }, line);
  }

  const columnsOf = (name, height) => new drawing.Columns({ height, onPick: pick, selected: () => filters.get("period") });
  const plots = { main: columnsOf("main", 260), failures: columnsOf("failures", 190), saved: columnsOf("saved", 190), hits: columnsOf("hits", 110) };

  function tipOf(at, rows, last) {
    return [h("h4", {}, data.periods[at]), ...rows, last ? h("p", { class: "sum" }, h("span", {}, last[0]), h("b", {}, last[1])) : ""].filter(Boolean);
  }

  function legendOf(series) {
    const shown = series.filter((one) => one.values.some(Boolean));
    return h("ul", { class: "legend" }, shown.map((one) => h("li", {}, h("span", {}, h("i", { class: `dot ${one.tone}`, "aria-hidden": "true" }), h("bdi", {}, one.name)))));
  }

  // sections
  function meta() {
    const day = (label) => (label && data.unit === "hour" ? label.slice(0, 10) : label);
    const first = day(data.periods[0]);
    const last = day(data.periods[data.periods.length - 1]);
    const bounds = [data.since && t("from", { since: data.since }), data.until && t("before", { until: data.until })].filter(Boolean).join(" ");
    const only = Object.entries(data.where).map(([word, wanted]) => t("only", { word: t(word), values: wanted.join(", ") || "–" }));
    const parts = [first && (first === last ? first : t("span", { first, last })), bounds, ...only, t("zone", { zone: data.zone }), t("made", { when: data.now })];
    document.getElementById("meta").replaceChildren(...parts.filter(Boolean).map((text) => h("span", {}, h("bdi", {}, text))));
  }

  function chips(found) {
    const made = [];
    for (const word of words) {
      for (const place of filters.get(word)) made.push([`${word}:${place}`, t(word), nameOf(word, place), () => toggle(word, place)]);
    }
    for (const [from, to] of runs(filters.get("period"))) {
      const name = from === to ? data.periods[from] : t("span", { first: data.periods[from], last: data.periods[to] });
      made.push([`period:${from}`, t(data.unit || "period"), name, () => { for (let at = from; at <= to; at += 1) filters.get("period").delete(at); changed(); }]);
    }
    const drawn = made.map(([key, word, name, drop]) => {
      const chip = button(`chip:${key}`, { class: "chip", "aria-label": t("remove", { name }) }, h("span", {}, word), h("bdi", {}, name), h("i", { "aria-hidden": "true" }, "×"));
      chip.addEventListener("click", drop);
      return chip;
    });
    const clear = button("clear", { class: "plain" }, t("clear"));
    clear.addEventListener("click", () => { for (const wanted of filters.values()) wanted.clear(); changed(); });
    const pickers = [
      segments("measure", t("measure"), measures, state.measure, (name) => (isAmount(name) ? `${drawing.symbol(currencyOf(name)).trim()}${data.currencies.length > 1 || !"¥$€".includes(drawing.symbol(currencyOf(name))) ? "" : ` ${t("cost")}`}` : t(name)), measureName),
      splits.length > 1 ? chooser() : "",
    ];
    const calls = usage.whole.get("calls");
    const shown = made.length ? t("calls_of", { calls: count(found.total.get("calls")), all: calls }) : t("all_calls", { all: calls });
    const bar = document.getElementById("filters");
    bar.hidden = false;
    bar.replaceChildren(...pickers.filter(Boolean),
      h("div", { class: "chips", role: "group", "aria-label": t("filters") }, made.length ? [...drawn, clear] : h("span", { class: "hint" }, t("filter_hint"))),
      h("output", { class: "shown" }, shown));
  }
  function segments(key, label, names, chosen, short_, long) {
    return h("div", { class: "segments", role: "group", "aria-label": label }, names.map((name) => {
      const one = button(`${key}:${name}`, { "aria-pressed": String(name === chosen), "aria-label": long(name), title: long(name) }, short_(name));
      one.addEventListener("click", () => { state[key] = name; changed(); });
      return one;
    }));
  }
  function chooser() {
    const select = h("select", { "data-key": "split" }, splits.map((word) => h("option", { value: word, selected: word === state.split }, t(word))));
    select.addEventListener("change", () => { state.split = select.value; changed(); });
    return h("label", { class: "split" }, h("span", {}, t("split")), select);
  }

  function tally(found) {
    const { total, periods } = found;
    const tile = (name, key, value, note, line, full) => h("li", { "data-tile": key, "data-exact": full, class: value === "–" ? "zero" : null },
      h("span", {}, name), h("b", {}, value), h("small", {}, note), drawing.sparkline(line));
    const calls = total.get("calls");
    const tiles = data.currencies.map((currency, at) => {
      const nanos = total.get(`cost.${at}`);
      const priced = calls - total.get("unpriced") - total.get("unfinished");
      const note = data.currencies.length === 1 && priced > 0 ? t("per_call", { amount: short(nanos / BigInt(priced), currency) }) : exact(nanos, currency);
      return tile(data.currencies.length > 1 ? t("cost_in", { currency }) : t("cost"), `cost-${currency}`, short(nanos, currency), note, periods.map((one) => numeric(one, `cost.${at}`)), String(nanos));
    });
    const retries = total.get("retries");
    tiles.push(tile(t("calls"), "calls", calls < 1e7 ? count(calls) : compact(calls), retries ? t("calls_note", { retries }) : "", periods.map((one) => one.get("calls")), String(calls)));
    const rate = total.failureRate;
    tiles.push(tile(t("valid"), "valid", percent(rate === null ? null : 1 - rate), t("valid_note", { failed: total.get("failed"), repaired: count(total.get("repaired")) }), periods.map((one) => one.ended - one.get("failed")), String(total.get("failed"))));
    const { all } = usage.marked(usage.latencies, "model");
    const p50 = usage.percentile(all, 0.5);
    tiles.push(tile(`${t("latency")} p50`, "latency", duration(p50), `p95 ${duration(usage.percentile(all, 0.95))} · p99 ${duration(usage.percentile(all, 0.99))}`, [], String(p50)));
    tiles.push(tile(t("tokens"), "tokens", compact(total.tokens), t("tokens_note", { input: compact(total.get("input_tokens")), output: compact(total.get("output_tokens")) }), periods.map((one) => one.tokens), String(total.tokens)));
    tiles.push(tile(t("hit_share"), "hits", percent(total.hitShare), data.currencies.map((currency, at) => short(total.get(`saved.${at}`), currency)).join(" + ") + (data.currencies.length ? ` ${t("saved_short").toLowerCase()}` : ""), periods.map((one) => one.get("cached_tokens")), String(total.get("cached_tokens"))));
    const warnings = ["unpriced", "unfinished", "estimated"].filter((name) => total.get(name)).map((name) => t(name, { count: total.get(name) }));
    return h("section", { class: "first" }, h("ul", { class: "tally" }, tiles), warnings.length ? h("ul", { class: "warnings" }, warnings.map((text) => h("li", {}, text))) : "");
  }

  function seriesOf(found) {
    const places = [...found.stack.keys()].filter((place) => [...found.stack.get(place).values()].some((sum) => numeric(sum, state.measure)));
    const toned = (place) => tone(state.split, place);
    const own = places.filter((place) => toned(place) !== "sx").sort((one, other) => toned(one).localeCompare(toned(other)));
    const rest = places.filter((place) => toned(place) === "sx").sort((one, other) => one - other);
    const series = own.map((place) => ({ place, tone: toned(place), name: nameOf(state.split, place), sums: [found.stack.get(place)] }));
    if (rest.length === 1) series.push({ place: rest[0], tone: "sx", name: nameOf(state.split, rest[0]), sums: [found.stack.get(rest[0])] });
    else if (rest.length) series.push({ place: null, tone: "sx", name: t("others", { count: rest.length + (rest.includes(values.get(state.split).values.length) ? Math.max(values.get(state.split).folded - 1, 0) : 0) }), sums: rest.map((place) => found.stack.get(place)) });
    return series.map((one) => ({ ...one, values: data.periods.map((_, at) => one.sums.reduce((sum, map) => sum + numeric(map.get(at), state.measure), 0)) }));
  }

  function together(maps, at) {
    const found = new usage.Sum();
    for (const map of maps) if (map.has(at)) found.add(map.get(at));
    return found;
  }

  function overTime(found) {
    const series = seriesOf(found);
    const title = t("over_time", { measure: measureName(state.measure), by: byUnit() });
    const legend = h("ul", { class: "legend" }, series.map((one) => {
      const inner = [h("i", { class: `dot ${one.tone}`, "aria-hidden": "true" }), h("bdi", {}, one.name)];
      if (one.place === null) return h("li", {}, h("span", {}, inner));
      const entry = button(`legend:${one.place}`, { "aria-pressed": String(filters.get(state.split).has(one.place)) }, inner);
      entry.addEventListener("click", () => toggle(state.split, one.place));
      return h("li", {}, entry);
    }));
    const node = card(title, t("over_time_note", { word: inPhrase(state.split) }), plots.main.node, legend, table("over_time", title, () => ({
      head: [t(data.unit), ...series.map((one) => one.name), t("total")],
      rows: data.periods.map((label, at) => [label, ...series.map((one) => said(together(one.sums, at), state.measure)), said(found.periods[at], state.measure)]),
    })));
    const draw = () => plots.main.draw({
      title, series,
      format: (value) => brief(value, state.measure),
      said: (at) => said(found.periods[at], state.measure),
      tip: (at) => tipOf(at, series.filter((one) => one.values[at] > 0).reverse().map((one) => drawing.tipRow(one.tone, one.name, brief(one.values[at], state.measure))), [measureName(state.measure), said(found.periods[at], state.measure)]),
    });
    return [h("section", {}, node), draw];
  }

  const sorted = (sums, key) => [...sums].sort((one, other) => key(other[1]) - key(one[1]) || one[0] - other[0]);

  function whereTo(found) {
    const cards = words.filter((word) => used.get(word).size > 1 || ((word === "model" || word === "task") && used.get(word).size)).map((word) => {
      const items = sorted(found.byWord.get(word), (sum) => numeric(sum, state.measure));
      const most = Math.max(...items.map(([, sum]) => numeric(sum, state.measure)), 0);
      const whole = items.reduce((sum, [, one]) => sum + numeric(one, state.measure), 0);
      const head = [t(word), t("calls"), t("failed"), t("input"), t("cached"), t("output"), ...data.currencies.flatMap((currency) => [t("cost_in", { currency }), t("saved_in", { currency })])];
      return card(t(word), "", ...folding(`where:${word}`, items, ([place, sum]) =>
        row("where", word, place, most ? numeric(sum, state.measure) / most : 0, brief(numeric(sum, state.measure), state.measure), whole ? percent(numeric(sum, state.measure) / whole) : "")),
      table(`where:${word}`, t(word), () => ({ head, rows: items.map(([place, sum]) => [nameOf(word, place), ...figures(sum)]) })));
    });
    return h("section", {}, h("h2", {}, t("where_to")), h("p", { class: "note" }, t("where_to_note", { measure: measureName(state.measure) })), h("div", { class: "cards" }, cards));
  }
  const figures = (sum) => [
    ...["calls", "failed", "input_tokens", "cached_tokens", "output_tokens"].map((name) => count(sum.get(name))),
    ...data.currencies.flatMap((currency, at) => [exact(sum.get(`cost.${at}`), currency), exact(sum.get(`saved.${at}`), currency)]),
  ];

  function spreads(key, source, title, note) {
    const word = source.by.has(state.split) ? state.split : "model";
    const { all, byValue } = usage.marked(source, word);
    const size = (marks) => [...marks.values()].reduce((sum, calls) => sum + calls, 0);
    const items = [...byValue].sort((one, other) => size(other[1]) - size(one[1]) || one[0] - other[0]);
    if (!items.length) return card(title, note, h("p", { class: "nothing" }, t("no_latency")));
    const together = new Map();
    for (const [, marks] of items) for (const [mark, calls] of marks) together.set(mark, (together.get(mark) || 0) + calls);
    const axis = drawing.decades(usage.percentile(together, 0.003), usage.percentile(together, 0.999));
    const shares = (marks) => [0.5, 0.95, 0.99].map((share) => usage.percentile(marks, share));
    const line = (name, tone_, marks, height, attributes) => {
      const [p50, p95, p99] = shares(marks);
      const label = t("spread_said", { name, calls: count(size(marks)), p50: duration(p50), p95: duration(p95), p99: duration(p99) });
      return [attributes ? button(attributes.key, { class: "name", "aria-pressed": String(attributes.pressed), title: name }, h("i", { class: `dot ${tone_}`, "aria-hidden": "true" }), h("bdi", {}, name)) : h("span", { class: "name" }, name),
        drawing.spread({ marks, axis, tone: tone_, height, label, p50, p95 }),
        h("span", { class: "num p" }, duration(p50)), h("span", { class: "num p" }, duration(p95)), h("span", { class: "num p" }, duration(p99))];
    };
    const wanted = filters.get(word);
    const list = folding(`spread:${key}`, items, ([place, marks]) => {
      const made = line(nameOf(word, place), tone(word, place), marks, 30, { key: `${key}:${word}:${place}`, pressed: wanted.has(place) });
      made[0].addEventListener("click", () => toggle(word, place));
      return h("li", { class: wanted.size && !wanted.has(place) ? "dim" : null }, made);
    });
    const missing = dimensions.filter((name) => filters.get(name).size && !source.by.has(name)).map((name) => inPhrase(name === "period" ? data.unit : name));
    const notes = missing.length ? h("p", { class: "warning" }, t("not_split", { words: missing.join(", ") })) : "";
    const head = h("div", { class: "spread-head", "aria-hidden": "true" }, h("span"), drawing.ruler(axis), ["p50", "p95", "p99"].map((name) => h("span", { class: "num" }, name)));
    const every = all.size && items.length > 1 ? h("ul", { class: "rows all" }, h("li", {}, line(t("total"), "plain", all, 40))) : "";
    return card(title, `${note} ${t("precision", { error: percent(source.error) })}`, notes, h("div", { class: "spreads" }, head, every, ...list), table(key, title, () => ({
      head: [t(word), t("calls"), "p50", "p95", "p99"],
      rows: items.map(([place, marks]) => [nameOf(word, place), count(size(marks)), ...shares(marks).map(duration)]),
    })));
  }

  function failures(found) {
    const { total, periods } = usage.failed();
    const order = [...data.classes.keys()].filter((at) => total.get(at) || periods.some((one) => one.get(at)));
    const named = (at) => data.classes[at] || t("unnamed");
    const rates = found.periods.map((one) => one.failureRate || 0);
    const byTime = periods.some((one) => one.size);
    const known = found.periods.map((_, at) => order.reduce((sum, name) => sum + (periods[at].get(name) || 0), 0));
    const part = (at, calls) => (found.periods[at].ended ? calls / found.periods[at].ended : 0);
    const kept = order.slice(0, TONES);
    const series = byTime
      ? [...kept.map((name, place) => ({ name: named(name), tone: `e${place}`, values: periods.map((one, at) => part(at, one.get(name) || 0)) })),
        { name: t("unnamed"), tone: "sx", values: rates.map((rate, at) => Math.max(rate - part(at, kept.reduce((sum, name) => sum + (periods[at].get(name) || 0), 0)), 0)).map((rate) => (rate < 1e-12 ? 0 : rate)) }]
      : [{ name: t("failed"), tone: "e0", values: rates }];
    const title = t("over_time", { measure: t("failure_rate"), by: byUnit() });
    const any = found.periods.some((one) => one.get("failed"));
    if (!any) return [h("section", {}, h("h2", {}, t("errors")), h("p", { class: "nothing" }, t("no_errors"))), () => {}];
    const calls = (at) => `${count(found.periods[at].get("failed"))} / ${count(found.periods[at].ended)}`;
    const time = card(title, t("errors_note"), plots.failures.node, legendOf(series), table("failures", title, () => ({
      head: [t(data.unit), t("failure_rate"), t("failed"), ...order.map(named)],
      rows: data.periods.map((label, at) => [label, percent(found.periods[at].failureRate), calls(at), ...order.map((name) => count(periods[at].get(name) || 0))]),
    })));
    const classes = [...total].sort((one, other) => other[1] - one[1]);
    const all = classes.reduce((sum, [, one]) => sum + one, 0);
    const kinds = card(t("by_class"), "", h("ul", { class: "rows" }, classes.map(([name, one]) => h("li", {}, h("div", { class: "row" },
      h("span", { class: "name" }, h("bdi", {}, named(name))), h("span", { class: "value" }, count(one), h("small", {}, percent(one / all))), drawing.bar(one / classes[0][1], kept.includes(name) ? `e${kept.indexOf(name)}` : "sx"))))),
    table("classes", t("by_class"), () => ({ head: [t("class"), t("count"), t("share")], rows: classes.map(([name, one]) => [named(name), count(one), percent(one / all)]) })));
    const items = sorted(found.byWord.get(state.split), (sum) => sum.failureRate || 0).filter(([, sum]) => sum.ended);
    const most = Math.max(...items.map(([, sum]) => sum.failureRate || 0), 0);
    const rateTitle = t("rate_by", { word: inPhrase(state.split) });
    const rateCard = card(rateTitle, "", ...folding("rates", items, ([place, sum]) => row("rates", state.split, place, most ? (sum.failureRate || 0) / most : 0, percent(sum.failureRate), `${count(sum.get("failed"))} / ${count(sum.ended)}`)),
      table("rates", rateTitle, () => ({ head: [t(state.split), t("failure_rate"), t("failed"), t("calls")], rows: items.map(([place, sum]) => [nameOf(state.split, place), percent(sum.failureRate), count(sum.get("failed")), count(sum.get("calls"))]) })));
    const draw = () => plots.failures.draw({
      title, series, format: (value) => percent(value),
      said: (at) => `${percent(found.periods[at].failureRate)} (${calls(at)})`,
      tip: (at) => tipOf(at, series.filter((one) => one.values[at] > 0).reverse().map((one) => drawing.tipRow(one.tone, one.name, percent(one.values[at]))), [t("failed"), `${percent(found.periods[at].failureRate)} · ${calls(at)}`]),
    });
    return [h("section", {}, h("h2", {}, t("errors")), h("div", { class: "one" }, time), h("div", { class: "pair" }, kinds, rateCard)), draw];
  }

  function savings(found) {
    const at_ = moneyAt();
    const currency = data.currencies[at_];
    const [paid, saved] = [`cost.${at_}`, `saved.${at_}`];
    if (!currency || !found.periods.some((one) => one.get("cached_tokens") || one.get(saved))) {
      return [h("section", {}, h("h2", {}, t("savings")), h("p", { class: "nothing" }, t("no_savings"))), () => {}];
    }
    const title = t("over_time", { measure: savedName(), by: byUnit() });
    const series = [{ name: t("paid"), tone: "plain", values: found.periods.map((one) => numeric(one, paid)) }, { name: t("saved_short"), tone: "good", values: found.periods.map((one) => numeric(one, saved)) }];
    const hitTitle = t("over_time", { measure: t("hit_share"), by: byUnit() });
    const time = card(title, t("savings_note"), plots.saved.node, legendOf(series), h("h4", {}, hitTitle), plots.hits.node, table("savings", title, () => ({
      head: [t(data.unit), t("paid"), t("saved_short"), t("hit_share"), t("cached"), t("input")],
      rows: data.periods.map((label, at) => { const one = found.periods[at]; return [label, said(one, paid), said(one, saved), percent(one.hitShare), count(one.get("cached_tokens")), count(one.get("input_tokens"))]; }),
    })));
    const items = sorted(found.byWord.get(state.split), (sum) => numeric(sum, saved)).filter(([, sum]) => sum.get("input_tokens"));
    const most = Math.max(...items.map(([, sum]) => numeric(sum, saved)), 0);
    const listTitle = t("saved_by", { word: inPhrase(state.split) });
    const list = card(listTitle, t("hit_note", { share: percent(found.total.hitShare) }), ...folding("savers", items, ([place, sum]) =>
      row("savers", state.split, place, most ? numeric(sum, saved) / most : 0, brief(numeric(sum, saved), saved), percent(sum.hitShare))),
    table("savers", listTitle, () => ({ head: [t(state.split), t("paid"), t("saved_short"), t("hit_share")], rows: items.map(([place, sum]) => [nameOf(state.split, place), said(sum, paid), said(sum, saved), percent(sum.hitShare)]) })));
    const draw = () => {
      plots.saved.draw({
        title, series, format: (value) => brief(value, paid), said: (at) => `${said(found.periods[at], saved)} / ${said(found.periods[at], paid)}`,
        tip: (at) => tipOf(at, [drawing.tipRow("good", t("saved_short"), said(found.periods[at], saved)), drawing.tipRow("plain", t("paid"), said(found.periods[at], paid))]),
      });
      plots.hits.draw({
        title: hitTitle, series: [{ name: t("hit_share"), tone: "good", values: found.periods.map((one) => one.hitShare || 0) }], most: 1, format: (value) => percent(value),
        said: (at) => percent(found.periods[at].hitShare), tip: (at) => tipOf(at, [drawing.tipRow("good", t("hit_share"), percent(found.periods[at].hitShare)), drawing.tipRow("", t("cached"), count(found.periods[at].get("cached_tokens")))]),
      });
    };
    return [h("section", {}, h("h2", {}, t("savings")), h("div", { class: "wide-narrow" }, time, list)), draw];
  }

  function users() {
    const { rows, folded, others } = data.users;
    if (!rows.length) return "";
    const line = (name, numbers) => { const sum = usage.cellOf(numbers); return h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)), figures(sum).map((text) => h("td", { class: "num" }, text))); };
    const head = [t("user"), t("calls"), t("failed"), t("input"), t("cached"), t("output"), ...data.currencies.flatMap((currency) => [t("cost_in", { currency }), t("saved_in", { currency })])];
    return h("section", {}, h("h2", {}, t("users")), h("p", { class: "note" }, t("users_note")), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("users") }, h("table", {},
      h("thead", {}, h("tr", {}, head.map((text, at) => h("th", { scope: "col", class: at ? "num" : null }, text)))),
      h("tbody", {}, rows.map(([name, numbers]) => line(name, numbers)), folded ? line(t("others", { count: folded }), others) : ""))));
  }

  function notes() {
    const said_ = [t("exact")];
    if (data.coarse) said_.push(t("coarse", { by: byUnit() }));
    if (data.dropped.length) said_.push(t("dropped", { words: data.dropped.map(inPhrase).join(", ") }));
    for (const one of data.words) if (one.folded) said_.push(t("folded", { word: t(one.word), kept: one.values.length, count: one.folded }));
    return h("section", { class: "notes" }, h("h2", {}, t("notes")), h("ul", {}, said_.map((text) => h("li", {}, text))));
  }

  // all of it
  const main = document.getElementById("plots");
  function redraw() {
    const active = document.activeElement;
    const key = active && active.dataset ? active.dataset.key : null;
    const hit = active && active.classList.contains("hit") ? active : null;
    meta();
    if (!usage.whole.get("calls")) {
      main.replaceChildren(h("section", { class: "empty" }, h("p", {}, t("nothing")), h("p", { class: "note" }, t("nothing_more"))));
      return;
    }
    const found = usage.summed(state.split);
    chips(found);
    const [timeNode, drawTime] = overTime(found);
    const [failureNode, drawFailures] = failures(found);
    const [savingNode, drawSavings] = savings(found);
    const latencySection = h("section", {}, h("h2", {}, t("latency")), h("div", { class: "pair" },
      spreads("latency", usage.latencies, t("latency"), t("latency_note")), usage.firstTokens.rows.length ? spreads("first_token", usage.firstTokens, t("first_token"), t("first_token_note")) : ""));
    main.replaceChildren(...[tally(found), timeNode, whereTo(found), latencySection, failureNode, savingNode, users(), notes()].filter(Boolean));
    for (const draw of [drawTime, drawFailures, drawSavings]) draw();
    if (hit && hit.isConnected) hit.focus({ preventScroll: true });
    else if (key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
    root.dataset.calls = String(found.total.get("calls"));
  }
  function changed() {
    redraw();
    remember();
    const shown = document.querySelector(".shown");
    document.getElementById("said").textContent = shown ? shown.textContent : "";
  }

  document.addEventListener("click", (event) => {
    const one = event.target.closest("[data-set-theme], [data-set-language]");
    if (!one) return;
    if (one.dataset.setTheme) setTheme(one.dataset.setTheme);
    else setLanguage(one.dataset.setLanguage);
    changed();
  });
  addEventListener("scroll", drawing.hideTip, { passive: true });
  addEventListener("hashchange", () => { recall(); redraw(); });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    redraw();
  });
  recall();
  redraw();
  root.dataset.ready = "";
})();
