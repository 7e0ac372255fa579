// Elements, numbers for people, and plots drawn by hand. Text that others wrote is only ever a text node.
const drawing = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SYMBOLS = { CNY: "¥", USD: "$", EUR: "€" };
  const NANOS = 10n ** 9n;
  const { data } = usage;
  const language = () => (document.documentElement.lang.startsWith("zh") ? "zh" : "en");

  function put(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }
  const h = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);
  const s = (tag, attributes = {}, ...children) => put(document.createElementNS(SVG, tag), attributes, children);

  const count = (value) => value.toLocaleString("en");

  // A phrase; `{calls:call}` is a number with its noun.
  function t(key, values = {}) {
    return data.phrases[key][language() === "zh" ? 1 : 0].replace(/\{(\w+)(?::(\w+))?\}/g, (_, name, noun) => {
      const value = values[name];
      const said = typeof value === "number" ? count(value) : value;
      if (!noun) return said;
      return `${said} ${noun.endsWith("y") && value !== 1 ? `${noun.slice(0, -1)}ies` : noun + (value === 1 ? "" : "s")}`;
    });
  }

  function compact(value) {
    if (Math.abs(value) < 10000) return count(value);
    const found = new Intl.NumberFormat(language() === "zh" ? "zh-Hans" : "en", { notation: "compact", maximumSignificantDigits: 3 });
    return found.format(value);
  }

  function percent(value) {
    if (value === null) return "–";
    const whole = Math.round(100 * value);
    if (whole < 10 && value !== 0) return `${Math.max(100 * value, 0.1).toFixed(1)}%`;
    if (whole >= 99 && value !== 1) return `${Math.min(100 * value, 99.9).toFixed(1)}%`;
    return `${whole}%`;
  }

  function duration(milliseconds) {
    if (milliseconds === null) return "–";
    if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
    const seconds = milliseconds / 1000;
    return seconds < 10 ? `${seconds.toFixed(2)} s` : `${count(Number(seconds.toFixed(1)))} s`;
  }

  const symbol = (currency) => SYMBOLS[currency] || `${currency} `;

  // An amount in full, rounded to a millionth, half to even, as the terminal writes it.
  function exact(nanos, currency) {
    const size = nanos < 0n ? -nanos : nanos;
    const places = String(size % NANOS).padStart(9, "0").replace(/0+$/, "").length;
    const digits = Math.min(Math.max(places, 2), 6);
    const unit = 10n ** BigInt(9 - digits);
    let units = size / unit;
    if (2n * (size % unit) > unit || (2n * (size % unit) === unit && units % 2n === 1n)) units += 1n;
    const whole = 10n ** BigInt(digits);
    return `${nanos < 0n ? "−" : ""}${symbol(currency)}${count(units / whole)}.${String(units % whole).padStart(digits, "0")}`;
  }

  // An amount where there is little room: cents, or two digits of what is less.
  function short(nanos, currency) {
    const value = Number(nanos) / Number(NANOS);
    const size = Math.abs(value);
    if (!size) return `${symbol(currency)}0`;
    const places = size >= 1000 ? 0 : size >= 0.1 ? 2 : Math.min(Math.ceil(-Math.log10(size)) + 1, 9);
    const said = size.toLocaleString("en", { minimumFractionDigits: Math.min(places, 2), maximumFractionDigits: places });
    return `${value < 0 ? "−" : ""}${symbol(currency)}${said}`;
  }

  // A scale from 0 to a round number above the most.
  function scale(most) {
    if (!(most > 0)) return { end: 1, ticks: [0] };
    const unit = 10 ** Math.floor(Math.log10(most));
    const step = [0.5, 1, 2.5, 5].map((part) => unit * part).find((one) => most <= 4 * one);
    const steps = Math.ceil(most / step - 1e-9);
    return { end: steps * step, ticks: Array.from({ length: steps + 1 }, (_, at) => at * step) };
  }

  const tip = document.getElementById("tip");
  function showTip(lines, x, y) {
    tip.replaceChildren(...lines);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${Math.max(Math.min(y - box.height / 2, innerHeight - box.height - 4), 4)}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  const tipRow = (tone, name, value) => h("p", {}, h("span", {}, tone ? h("i", { class: `dot ${tone}` }) : "", name), h("b", {}, value));

  // What stands below a column: the year only where one begins.
  function shortLabel(label) {
    if (data.unit === "hour") return label.slice(11);
    if (data.unit === "day") return label.endsWith("01-01") ? label : label.slice(5);
    return data.unit === "week" && !label.endsWith("W01") ? label.slice(5) : label;
  }
  function isWeekend(label) {
    return data.unit === "day" && [0, 6].includes(new Date(`${label}T00:00:00Z`).getUTCDay());
  }

  // Columns by period: stacked, filtered by a click, a drag or the keys.
  class Columns {
    constructor({ title, height, onPick, selected }) {
      Object.assign(this, { height, onPick, selected, at: 0, from: null });
      this.drawn = h("div");
      this.hit = h("div", { class: "hit", tabindex: "0", role: "slider", "aria-valuemin": "1", "aria-valuemax": String(data.periods.length) });
      this.node = h("div", { class: "columns" }, this.drawn, this.hit);
      this.title = title;
      this.listen();
    }

    listen() {
      const { hit } = this;
      const span = (from, to) => Array.from({ length: Math.abs(to - from) + 1 }, (_, at) => Math.min(from, to) + at);
      hit.addEventListener("pointermove", (event) => this.hover(this.indexAt(event), event));
      hit.addEventListener("pointerleave", () => { hideTip(); this.mark(null); });
      hit.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        this.from = this.indexAt(event);
        hit.setPointerCapture(event.pointerId);
      });
      hit.addEventListener("pointercancel", () => { this.from = null; });
      hit.addEventListener("pointerup", (event) => {
        if (this.from === null) return;
        const to = this.indexAt(event);
        const add = event.ctrlKey || event.metaKey;
        if (event.shiftKey) this.onPick(span(this.at, to), false);
        else this.onPick(span(this.from, to), add);
        [this.at, this.from] = [to, null];
      });
      hit.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 7, PageDown: -7 }[event.key];
        const last = data.periods.length - 1;
        if (event.key === "Enter" || event.key === " ") this.onPick([this.at], event.ctrlKey || event.metaKey);
        else if (event.key === "Escape") this.onPick([], false);
        else if (step || event.key === "Home" || event.key === "End") {
          const to = event.key === "Home" ? 0 : event.key === "End" ? last : Math.min(Math.max(this.at + step, 0), last);
          if (event.shiftKey) {
            if (this.anchor === undefined) this.anchor = this.at;
            this.onPick(span(this.anchor, to), false);
          } else this.anchor = undefined;
          this.focusOn(to);
        } else return;
        event.preventDefault();
      });
      hit.addEventListener("focus", () => this.focusOn(this.at));
      hit.addEventListener("blur", () => { hideTip(); this.mark(null); });
    }

    indexAt(event) {
      const box = this.hit.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * data.periods.length);
      return Math.min(Math.max(at, 0), data.periods.length - 1);
    }

    focusOn(at) {
      this.at = at;
      if (!this.hit.matches(":focus-visible")) return;
      const box = this.hit.getBoundingClientRect();
      this.hover(at, { clientX: box.left + ((at + 0.5) * box.width) / data.periods.length, clientY: box.top + 30 });
    }

    hover(at, event) {
      this.mark(at);
      this.speak(at);
      if (this.spec) showTip(this.spec.tip(at), event.clientX, event.clientY);
    }

    speak(at) {
      this.hit.setAttribute("aria-valuenow", String(at + 1));
      this.hit.setAttribute("aria-valuetext", t("column_said", { label: data.periods[at], value: this.spec.said(at) }));
    }

    mark(at) {
      if (!this.band) return;
      this.band.toggleAttribute("hidden", at === null);
      if (at !== null) this.band.setAttribute("x", this.left + at * this.pitch);
    }

    // spec: series [{tone, values}], format(value), said(at), tip(at), most (of the axis)
    draw(spec) {
      this.spec = spec;
      const { height } = this;
      const width = Math.max(this.node.clientWidth, 240);
      const n = data.periods.length;
      const heights = data.periods.map((_, at) => spec.series.reduce((sum, one) => sum + one.values[at], 0));
      const { end, ticks } = scale(spec.most || Math.max(...heights, 0));
      const labels = ticks.map(spec.format);
      const left = Math.max(...labels.map((label) => label.length)) * 6.8 + 14;
      const [top, bottom] = [10, 22];
      const inner = height - top - bottom;
      const pitch = (width - left) / n;
      const bar = Math.min(n > 1 ? Math.max(pitch * 0.78, pitch - 3) : pitch * 0.2, 56);
      Object.assign(this, { left, pitch });
      const y = (value) => top + inner * (1 - value / end);
      const picked = this.selected();
      const parts = [];
      data.periods.forEach((label, at) => {
        if (isWeekend(label)) parts.push(s("rect", { class: "weekend", x: left + at * pitch, y: top, width: pitch, height: inner }));
      });
      ticks.forEach((tick, at) => {
        parts.push(s("line", { class: at ? "grid" : "grid zero", x1: left, x2: width, y1: y(tick), y2: y(tick) }));
        parts.push(s("text", { class: "tick-y", x: left - 8, y: y(tick) + 4 }, labels[at]));
      });
      const bases = new Float64Array(n);
      for (const one of spec.series) {
        const paths = { on: "", off: "" };
        one.values.forEach((value, at) => {
          if (!(value > 0)) return;
          const [high, low] = [y(bases[at] + value), y(bases[at])];
          bases[at] += value;
          const x = left + at * pitch + (pitch - bar) / 2;
          const gap = low - high > 3 && bar > 3 ? 0.5 : 0;
          const key = picked.size && !picked.has(at) ? "off" : "on";
          paths[key] += `M${x.toFixed(2)} ${(low - gap).toFixed(2)}V${high.toFixed(2)}h${bar.toFixed(2)}V${(low - gap).toFixed(2)}Z`;
        });
        for (const [key, path] of Object.entries(paths)) if (path) parts.push(s("path", { class: `fill ${one.tone} ${key}`, d: path }));
      }
      const room = data.unit === "month" ? 64 : 50;
      const every = Math.max(Math.ceil(room / pitch), 1);
      data.periods.forEach((label, at) => {
        if (at % every || (at && at * pitch + room / 2 > width - left)) return;
        const said = shortLabel(label);
        const middle = left + (at + 0.5) * pitch;
        const start = at === 0 && middle - said.length * 3.2 < left;
        parts.push(s("text", { class: "tick-x", x: start ? left : middle, y: height - 5, "text-anchor": start ? "start" : "middle" }, said));
      });
      this.band = s("rect", { class: "band", x: 0, y: top, width: pitch, height: inner, hidden: true });
      const most = heights.indexOf(Math.max(...heights));
      const told = t("chart_said", { title: spec.title, count: n, first: data.periods[0], last: data.periods[n - 1], most: spec.format(heights[most]), when: data.periods[most] });
      this.drawn.replaceChildren(
        s("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": told }, parts, this.band),
      );
      this.hit.style.left = `${(100 * left) / width}%`;
      this.hit.setAttribute("aria-label", `${spec.title}. ${t("keys")}`);
      this.speak(Math.min(this.at, n - 1));
    }
  }

  // A line without axes: how a number went.
  function sparkline(values) {
    const most = Math.max(...values, 0);
    if (values.length < 2 || !most) return s("svg", { class: "spark", viewBox: "0 0 100 24", "aria-hidden": "true" });
    const points = values.map((value, at) => `${((100 * at) / (values.length - 1)).toFixed(2)} ${(22 - (20 * value) / most).toFixed(2)}`);
    return s(
      "svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("path", { class: "under", d: `M0 24L${points.join("L")}L100 24Z` }),
      s("path", { class: "line", d: `M${points.join("L")}`, "vector-effect": "non-scaling-stroke" }),
    );
  }

  function bar(share, tone) {
    return s("svg", { class: "bar-line", width: "100%", height: "8", "aria-hidden": "true" },
      s("rect", { class: "rail", width: "100%", height: "8", rx: "2" }),
      share > 0 ? s("rect", { class: `fill ${tone}`, width: `${Math.max(100 * share, 0.4).toFixed(2)}%`, height: "8", rx: "2" }) : "");
  }

  // The axis that spreads share: whole decades and their thirds.
  function decades(least, most) {
    const [low, high] = [Math.log10(Math.max(least, 1)), Math.log10(Math.max(most, 2))];
    const start = Math.floor(low * 2) / 2;
    const end = Math.max(Math.ceil(high * 2) / 2, start + 0.5);
    const ticks = [];
    for (let power = Math.floor(start); power <= end; power += 1) {
      for (const part of [1, 3]) {
        const at = Math.log10(part) + power;
        if (at >= start - 1e-9 && at <= end + 1e-9) ticks.push(part * 10 ** power);
      }
    }
    return { start, end, ticks, place: (value) => Math.min(Math.max((Math.log10(Math.max(value, 1)) - start) / (end - start), 0), 1) };
  }

  const roundDuration = (ms) => (ms < 1000 ? `${ms} ms` : `${count(ms / 1000)} s`);

  // How calls spread over time, one row.
  function spread({ marks, axis, tone, height, label, p50, p95 }) {
    const bins = 64;
    const found = new Float64Array(bins);
    for (const [mark, calls] of marks) found[Math.min(Math.floor(axis.place(mark) * bins), bins - 1)] += calls;
    const most = Math.max(...found);
    let path = "";
    found.forEach((calls, at) => {
      if (!calls) return;
      const size = Math.max(((height - 3) * calls) / most, 1);
      path += `M${at} ${height}v${-size.toFixed(2)}h1v${size.toFixed(2)}Z`;
    });
    const lines = [[p50, "p50"], [p95, "p95"]].filter(([value]) => value !== null).map(([value, name]) => {
      const x = (bins * axis.place(value)).toFixed(2);
      return s("line", { class: name, x1: x, x2: x, y1: 0, y2: height, "vector-effect": "non-scaling-stroke" });
    });
    const ticks = axis.ticks.map((tick) => {
      const x = (bins * axis.place(tick)).toFixed(2);
      return s("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height, "vector-effect": "non-scaling-stroke" });
    });
    return s("svg", { class: "spread", viewBox: `0 0 ${bins} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      ticks, s("path", { class: `fill ${tone}`, d: path }), lines);
  }

  function ruler(axis) {
    const shown = [];
    for (const tick of axis.ticks) {
      if (!shown.length || axis.place(tick) - axis.place(shown[shown.length - 1]) > 0.26) shown.push(tick);
    }
    return h("div", { class: "ruler", "aria-hidden": "true" }, shown.map((tick) => {
      const at = axis.place(tick);
      const label = h("span", { class: at < 0.04 ? "first" : at > 0.96 ? "last" : "" }, roundDuration(tick));
      label.style.left = `${(100 * at).toFixed(2)}%`;
      return label;
    }));
  }

  return {
    h, s, t, count, compact, percent, duration, exact, short, symbol, Columns, sparkline, bar, decades, spread, ruler,
    tipRow, hideTip, language,
  };
})();
