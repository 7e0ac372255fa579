"use strict";
// The calls by time and words, filtered and summed up. Amounts are BigInt: sums are exact.
const usage = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = data.words.map((one) => one.word);
  const dimensions = [...words, "period"];
  const counts = data.fields.filter((name) => !name.includes(".")).length;
  const filters = new Map(dimensions.map((name) => [name, new Set()]));

  class Sum {
    constructor() {
      this.counts = new Float64Array(counts);
      this.amounts = new Array(data.fields.length - counts).fill(0n);
    }

    add(cell) {
      for (let at = 0; at < counts; at += 1) this.counts[at] += cell.counts[at];
      for (let at = 0; at < cell.amounts.length; at += 1) {
        if (cell.amounts[at]) this.amounts[at] += cell.amounts[at];
      }
    }

    get(name) {
      const at = data.fields.indexOf(name);
      return at < counts ? this.counts[at] : this.amounts[at - counts];
    }

    get ended() { return this.get("calls") - this.get("unfinished"); }
    get tokens() { return this.get("input_tokens") + this.get("output_tokens"); }
    get failureRate() { return this.ended ? this.get("failed") / this.ended : null; }
    get hitShare() { return this.get("input_tokens") ? this.get("cached_tokens") / this.get("input_tokens") : null; }
  }

  function cellOf(numbers) {
    const found = new Sum();
    numbers.forEach((value, at) => {
      if (at < counts) found.counts[at] = value;
      else found.amounts[at - counts] = BigInt(value);
    });
    return found;
  }

  // A table's rows, each with the places of its words in the order of `words`; -1 for one that the table does not have.
  function opened(table, read) {
    const columns = words.map((word) => table.by.filter((name) => name !== "period").indexOf(word));
    const found = [];
    table.groups.forEach((group, at) => {
      const places = columns.map((column) => (column < 0 ? -1 : group[column]));
      for (const [period, ...numbers] of table.rows[at]) found.push({ period, places, value: read(numbers) });
    });
    return { rows: found, by: new Set(table.by), error: table.error };
  }

  const pairs = (numbers) => numbers;
  const cube = opened(data.cube, cellOf);
  const latencies = opened(data.latencies, pairs);
  const firstTokens = opened(data.first_tokens, pairs);
  const errors = opened(data.errors, pairs);

  // Which filters a row fails, a bit for each; a filter by what the table does not tell apart is none.
  function masker(table) {
    const active = dimensions
      .map((name, at) => ({ name, at, wanted: filters.get(name) }))
      .filter(({ name, wanted }) => wanted.size && table.by.has(name));
    return (row) => {
      let mask = 0;
      for (const { name, at, wanted } of active) {
        if (!wanted.has(name === "period" ? row.period : row.places[at])) mask |= 1 << at;
      }
      return mask;
    };
  }

  const bit = (name) => 1 << dimensions.indexOf(name);
  const passes = (mask, name) => (mask & ~bit(name)) === 0;
  const made = (map, key, make) => {
    if (!map.has(key)) map.set(key, make());
    return map.get(key);
  };

  // All sums of the page: in total, by each word and by period, each under the filters of the others.
  function summed(split) {
    const total = new Sum();
    const periods = data.periods.map(() => new Sum());
    const byWord = new Map(words.map((word) => [word, new Map()]));
    const stack = new Map();
    const own = words.indexOf(split);
    const maskOf = masker(cube);
    for (const row of cube.rows) {
      const mask = maskOf(row);
      if (mask === 0) total.add(row.value);
      words.forEach((word, at) => {
        if (passes(mask, word)) made(byWord.get(word), row.places[at], () => new Sum()).add(row.value);
      });
      if (passes(mask, "period")) {
        periods[row.period].add(row.value);
        const series = made(stack, row.places[own], () => new Map());
        made(series, row.period, () => new Sum()).add(row.value);
      }
    }
    return { total, periods, byWord, stack };
  }

  // How many calls have each mark: of all, and of each value of a word under the filters of the others.
  function marked(table, word) {
    const own = words.indexOf(word);
    const maskOf = masker(table);
    const all = new Map();
    const byValue = new Map();
    for (const row of table.rows) {
      const mask = maskOf(row);
      if (!passes(mask, word)) continue;
      const value = made(byValue, row.places[own], () => new Map());
      for (let at = 0; at < row.value.length; at += 2) {
        const [mark, calls] = [row.value[at], row.value[at + 1]];
        value.set(mark, (value.get(mark) || 0) + calls);
        if (mask === 0) all.set(mark, (all.get(mark) || 0) + calls);
      }
    }
    return { all, byValue };
  }

  // How many calls ended in each class of failure, in total and by period.
  function failed() {
    const maskOf = masker(errors);
    const total = new Map();
    const periods = data.periods.map(() => new Map());
    for (const row of errors.rows) {
      const mask = maskOf(row);
      for (let at = 0; at < row.value.length; at += 2) {
        const [name, calls] = [row.value[at], row.value[at + 1]];
        if (mask === 0) total.set(name, (total.get(name) || 0) + calls);
        if (passes(mask, "period") && errors.by.has("period")) {
          periods[row.period].set(name, (periods[row.period].get(name) || 0) + calls);
        }
      }
    }
    return { total, periods };
  }

  // The nearest rank of a share, as the report has it.
  function percentile(marks, share) {
    let total = 0;
    for (const calls of marks.values()) total += calls;
    if (!total) return null;
    let rank = Math.max(Math.ceil(Math.floor(share * total * 1e6) / 1e6), 1);
    for (const [mark, calls] of [...marks].sort((one, other) => one[0] - other[0])) {
      rank -= calls;
      if (rank <= 0) return mark;
    }
    return null;
  }

  // All cells, each with its place of a word, whatever is filtered.
  function rows(word) {
    const at = words.indexOf(word);
    return cube.rows.map((row) => ({ place: row.places[at], value: row.value }));
  }

  const whole = new Sum();
  for (const row of cube.rows) whole.add(row.value);
  return {
    data, words, dimensions, filters, whole, cellOf, Sum, latencies, firstTokens, errors,
    summed, marked, failed, percentile, rows,
  };
})();
