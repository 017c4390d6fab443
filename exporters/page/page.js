"use strict";
(() => {
  const POLL_MS = 2000;
  const TIMEOUT_MS = 5000;
  const MAX_ROWS = 25;
  const ACCOUNTS = {
    active: "Held, and doing work: the largest of duty cycle, graphics, encoder, decoder, JPEG and optical flow activity.",
    idle: "Held, and doing nothing.",
    unmeasured: "Held, but its activity cannot be read, or the reading cannot be true. Never counted as idle.",
    unallocated: "Held by nobody.",
    unattributed: "Work that no holder explains.",
    unobserved: "The node was there; the agent or the device did not answer.",
    system: "The driver's and the cluster's own GPU daemons.",
  };

  const SUMMED = { __finished__: "finished holders", __other__: "other holders" };

  // What comes from the node is only ever written as text, so a name can never become markup.
  const slot = (root, name) => root.querySelector(`[data-slot="${name}"]`);
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const write = (target, text) => {
    if (target.textContent !== text) target.textContent = text;
  };
  const show = (target, shown, text) => {
    target.hidden = !shown;
    if (shown && text !== undefined) write(target, text);
  };
  // Keeps the elements that are there, so that a refresh loses neither focus nor selection.
  const sync = (parent, items, make, fill) => {
    while (parent.children.length > items.length) parent.lastElementChild.remove();
    while (parent.children.length < items.length) parent.append(make());
    items.forEach((item, place) => fill(parent.children[place], item));
  };

  const has = (value) => value !== null && value !== undefined;
  const grouped = (value, least, most = least) =>
    value.toLocaleString("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });
  const scaled = (value, steps) => {
    const [size, unit, digits] = steps.find(([size]) => Math.abs(value) >= size) || steps[steps.length - 1];
    return [grouped(value / size, digits), unit];
  };
  const watts = (value) => scaled(value, [[1e6, "MW", 2], [1e4, "kW", 1], [1, "W", 0]]);
  // One unit and one number of digits for a column, by what it adds up to: unlike amounts must not look alike.
  const ENERGY = [[3.6e9, "MWh", 3], [3.6e6, "kWh", 3], [3.6e3, "Wh", 2], [1, "J", 0]];
  const joules = (value) => scaled(value, ENERGY);
  const joulesLike = (whole) => {
    const [size, unit, digits] = ENERGY.find(([size]) => whole >= size) || ENERGY[3];
    return (value) => `${grouped(value / size, digits)} ${unit}`;
  };
  const dollarsLike = (whole) => (value) => "$" + grouped(value, whole < 1 ? 4 : 2);
  const bytes = (value) => scaled(value, [[2 ** 40, "TiB", 2], [2 ** 30, "GiB", 1], [2 ** 20, "MiB", 0]]);
  const dollars = (value) => dollarsLike(value)(value);
  const rate = (value) => "$" + grouped(value, 2, 4);
  const percent = (value) => grouped(value * 100, 0, value > 0 && value < 0.0995 ? 1 : 0) + " %";
  const clock = (seconds) => {
    const whole = Math.floor(seconds);
    const two = (part) => String(part).padStart(2, "0");
    return `${grouped(Math.floor(whole / 3600), 0)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  };
  const ago = (seconds) => {
    const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= size) || [1, "s"];
    return `${grouped(Math.max(0, seconds) / size, unit === "s" && seconds < 10 ? 1 : 0)} ${unit}`;
  };
  const joined = (format) => (value) => format(value).join(" ");
  const words = (name) => name.replaceAll("_", " ");
  const accountClass = (account) => (account in ACCOUNTS ? account : "other");

  const figure = (target, value, format) => {
    if (!has(value)) {
      write(target, "–");
      target.title = "not measured";
      target.setAttribute("aria-label", "not measured");
      return;
    }
    target.removeAttribute("title");
    target.removeAttribute("aria-label");
    const made = format(value);
    if (!Array.isArray(made)) {
      write(target, made);
      return;
    }
    if (target.childElementCount !== 1) target.replaceChildren(document.createTextNode(""), element("span", "unit"));
    target.firstChild.data = made[0];
    write(target.lastChild, made[1]);
  };

  const makeMeter = () => {
    const row = element("div");
    row.append(element("dt"), element("dd"), element("div", "track"));
    row.lastChild.append(element("i"));
    return row;
  };
  const fillMeter = (row, { label, value, of, format, bar }) => {
    const [name, amount, track] = row.children;
    write(name, label);
    figure(amount, value, format);
    if (has(value) && has(of)) {
      const [most, unit] = [format(of), format(of).split(" ")[1]];
      const sameUnit = amount.textContent.endsWith(` ${unit}`);
      if (sameUnit) write(amount, amount.textContent.split(" ")[0]);
      amount.append(element("span", "of", ` / ${most}`));
    }
    const ratio = has(value) && bar && (of === undefined ? value : has(of) && of > 0 ? value / of : null);
    track.hidden = !bar;
    track.className = has(ratio) && ratio !== false ? "track" : "track none";
    track.firstChild.style.width = `${Math.min(1, Math.max(0, Number(ratio) || 0)) * 100}%`;
    track.setAttribute("aria-hidden", "true");
  };

  const line = (cell, className, text, note) => {
    if (!cell.firstChild) {
      const box = element("span", "line");
      const label = element("span", "label");
      label.append(document.createTextNode(""), element("small", "quiet"));
      box.append(element("span"), label);
      cell.append(box);
    }
    const [swatch, label] = cell.firstChild.children;
    swatch.className = `swatch ${className}`;
    label.firstChild.data = text;
    write(label.lastChild, note);
  };
  const makeRow = (cells) => () => {
    const row = element("tr");
    row.append(...Array.from({ length: cells }, (_, place) => element(place ? "td" : "th")));
    row.firstChild.scope = "row";
    return row;
  };
  const sum = (rows, key) => (rows.some((row) => has(row[key])) ? rows.reduce((all, row) => all + (row[key] || 0), 0) : null);

  const fillTotals = (state) => {
    const accounts = [...state.totals.accounts].sort((a, b) => b.gpu_seconds - a.gpu_seconds);
    const whole = sum(accounts, "gpu_seconds") || 0;
    const energy = joulesLike(sum(accounts, "joules") || 0);
    const cost = dollarsLike(sum(accounts, "usd") || 0);
    figure(slot(document, "power"), state.totals.power_watts, watts);
    figure(slot(document, "price"), state.totals.usd_per_hour, (value) => [rate(value), "/ h"]);
    figure(slot(document, "time"), whole, (value) => [clock(value), "h"]);
    figure(slot(document, "energy"), sum(accounts, "joules"), joules);
    figure(slot(document, "cost"), sum(accounts, "usd"), dollars);
    const seen = accounts.filter((account) => account.gpu_seconds > 0);
    const stack = slot(document, "stack");
    sync(stack, seen, () => element("span"), (part, account) => {
      part.className = accountClass(account.account);
      part.style.flexGrow = account.gpu_seconds / whole;
      part.title = `${account.account} ${percent(account.gpu_seconds / whole)}`;
    });
    const told = seen.map((account) => `${account.account} ${percent(account.gpu_seconds / whole)}`).join(", ");
    stack.setAttribute("aria-label", `GPU time by account: ${told || "none yet"}`);
    sync(slot(document, "totals"), accounts, makeRow(5), (row, account) => {
      line(row.children[0], accountClass(account.account), account.account, whole ? percent(account.gpu_seconds / whole) : "");
      row.title = ACCOUNTS[account.account] || "";
      figure(row.children[1], account.gpu_seconds, clock);
      figure(row.children[2], whole ? account.gpu_seconds / whole : null, percent);
      figure(row.children[3], account.joules, energy);
      figure(row.children[4], account.usd, cost);
    });
  };

  const perSecond = (unit) => (value) => [grouped(value, value < 10 ? 2 : 0), unit];
  const fillServing = (state) => {
    const engines = state.serving || [];
    show(slot(document, "servingPart"), engines.length > 0);
    sync(slot(document, "serving"), engines, makeRow(6), (row, engine) => {
      const note = [engine.holder ? `${engine.holder_kind} ${engine.holder}` : "", engine.engine, engine.message || ""];
      const name = engine.model || engine.engine || "not read yet";
      line(row.children[0], engine.up ? "active" : "unattributed", name, note.filter(Boolean).join(" · "));
      row.classList.toggle("down", !engine.up);
      figure(row.children[1], engine.requests_per_second, perSecond("/ s"));
      figure(row.children[2], engine.tokens_per_second, perSecond("tok / s"));
      figure(row.children[3], engine.cost_per_million_output_tokens_usd, (value) => [dollars(value), "/ M tok"]);
      figure(row.children[4], engine.joules_per_output_token, (value) => [grouped(value, 2), "J / tok"]);
      figure(row.children[5], engine.queue_depth, (value) => [grouped(value, 0), "queued"]);
    });
  };

  const fillAccounts = (card, device) => {
    const rows = [...device.accounts].sort((a, b) => b.gpu_seconds - a.gpu_seconds);
    const rest = rows.splice(MAX_ROWS);
    const energy = joulesLike(device.totals.joules || 0);
    const cost = dollarsLike(device.totals.usd || 0);
    if (rest.length) {
      const folded = { account: "", holder: `${rest.length} more`, holder_kind: "", method: "", mig: null, energy_method: null };
      for (const key of ["gpu_seconds", "joules", "usd"]) folded[key] = sum(rest, key);
      rows.push(folded);
    }
    sync(slot(card, "accounts"), rows, makeRow(4), (row, entry) => {
      const name = [entry.account, SUMMED[entry.holder] || entry.holder].filter(Boolean).join(" · ");
      const split = entry.energy_method ? `energy: ${words(entry.energy_method)}` : "";
      const mig = entry.mig ? `MIG ${entry.mig.slice(4, 12)}` : "";
      const kind = entry.holder ? entry.holder_kind : "";
      line(row.children[0], accountClass(entry.account), name, [kind, mig, words(entry.method), split].filter(Boolean).join(" · "));
      figure(row.children[1], entry.gpu_seconds, clock);
      figure(row.children[2], entry.joules, energy);
      figure(row.children[3], entry.usd, cost);
    });
    figure(slot(card, "sumTime"), device.totals.gpu_seconds, clock);
    figure(slot(card, "sumEnergy"), device.totals.joules, energy);
    figure(slot(card, "sumCost"), device.totals.usd, cost);
    // Both are rounded from integers for people; beyond that rounding they must be the same.
    const off = ["gpu_seconds", "joules", "usd"].filter((key) => {
      const whole = device.totals[key];
      return has(whole) && Math.abs((sum(device.accounts, key) || 0) - whole) > 1e-6 * Math.max(1, whole);
    });
    write(slot(card, "balance"), off.length ? `does not add up: ${off.map(words).join(", ")}` : "accounts add up to the device");
    slot(card, "balance").classList.toggle("why", off.length > 0);
  };

  const fillHolders = (card, device) => {
    const list = slot(card, "holders");
    const holders = device.holders.length ? device.holders : [{ kind: "", name: device.healthy ? "nobody" : "not known" }];
    const make = () => {
      const row = element("li");
      const name = element("span", "name");
      name.append(element("span", "kind"), document.createTextNode(""));
      row.append(name, element("span", "share"), element("span", "quiet"));
      return row;
    };
    sync(list, holders, make, (row, holder) => {
      const [name, share, memory] = row.children;
      show(name.firstChild, Boolean(holder.kind), holder.kind);
      name.lastChild.data = holder.name + (holder.mig ? ` · MIG ${holder.mig.slice(4, 12)}` : "");
      show(share, has(holder.share_ratio), has(holder.share_ratio) ? `${percent(holder.share_ratio)} share` : "");
      show(memory, has(holder.memory_bytes), has(holder.memory_bytes) ? joined(bytes)(holder.memory_bytes) : "");
    });
  };

  const fillMeters = (card, device) => {
    const busy = (label, value) => ({ label, value, format: percent, bar: true });
    const { activity } = device;
    sync(slot(card, "activity"), [
      busy("Duty cycle", activity.duty_cycle),
      busy("SM activity", activity.sm),
      busy("Tensor cores", activity.tensor),
      busy("DRAM bandwidth", activity.dram),
    ], makeMeter, fillMeter);
    sync(slot(card, "facts"), [
      { label: "Power", value: device.power_watts, of: device.power_limit_watts, format: joined(watts), bar: true },
      { label: "Memory", value: device.memory_used_bytes, of: device.memory_total_bytes, format: joined(bytes), bar: true },
      busy("Memory controller", activity.memory_controller),
      { label: "Temperature", value: device.temperature_celsius, format: (value) => `${grouped(value, 0)} °C`, bar: false },
    ], makeMeter, fillMeter);
    slot(card, "activity").title = device.activity_source ? `measured by ${device.activity_source}` : "";
  };

  const fillInstances = (card, device) => {
    show(slot(card, "instancesPart"), device.instances.length > 0);
    sync(slot(card, "instances"), device.instances, makeRow(5), (row, instance) => {
      write(row.children[0], instance.profile);
      row.children[0].title = instance.mig;
      figure(row.children[1], instance.activity.sm, percent);
      figure(row.children[2], instance.activity.tensor, percent);
      figure(row.children[3], instance.activity.dram, percent);
      figure(row.children[4], instance.memory_used_bytes, joined(bytes));
    });
  };

  const fillPrice = (card, device) => {
    figure(slot(card, "price"), device.usd_per_hour, (value) => `${rate(value)} / h`);
    const parts = [device.price_source, device.price_estimate && "estimate"];
    if (has(device.price_age_seconds)) parts.push(`${ago(device.price_age_seconds)} old`);
    write(slot(card, "priceSource"), has(device.usd_per_hour) ? parts.filter(Boolean).map((part) => part.replaceAll(" ", "\u00a0")).join(" · ") : "no price known");
  };

  const fillDevice = (card, device, state) => {
    const late = !has(device.age_seconds) || device.age_seconds > Math.max(5, 3 * state.interval_seconds);
    card.classList.toggle("away", !device.healthy || late);
    write(slot(card, "index"), String(device.index));
    write(slot(card, "name"), device.name);
    write(slot(card, "uuid"), device.uuid.length > 20 ? `${device.uuid.slice(0, 12)}…` : device.uuid);
    slot(card, "uuid").title = device.uuid;
    const last = has(device.age_seconds) ? `last read ${ago(device.age_seconds)} ago` : "never read";
    write(slot(card, "health"), !device.healthy || late ? ` · ${last}` : device.activity_source ? ` · ${device.activity_source}` : "");
    show(slot(card, "why"), Boolean(device.health_message), device.health_message || "");
    const flags = [
      ...(device.healthy ? [] : [["bad", "does not answer"]]),
      ...device.flags.map((flag) => ["bad", `implausible: ${words(flag)}`]),
      ...device.throttle_reasons.map((reason) => ["", `clocks held: ${words(reason)}`]),
    ];
    sync(slot(card, "flags"), flags, () => element("li"), (item, [className, text]) => {
      item.className = className;
      write(item, text);
    });
    fillPrice(card, device);
    fillMeters(card, device);
    fillInstances(card, device);
    fillHolders(card, device);
    fillAccounts(card, device);
  };

  const cards = new Map();
  const fillDevices = (state) => {
    const box = slot(document, "devices");
    const devices = [...state.devices].sort((a, b) => a.index - b.index);
    const uuids = new Set(devices.map((device) => device.uuid));
    for (const [uuid, card] of cards) {
      if (!uuids.has(uuid)) {
        card.remove();
        cards.delete(uuid);
      }
    }
    devices.forEach((device, place) => {
      if (!cards.has(device.uuid)) {
        const card = document.getElementById("device").content.firstElementChild.cloneNode(true);
        card.setAttribute("aria-label", `GPU ${device.index} ${device.name}`);
        card.querySelector("details").open = matchMedia("(min-width: 761px)").matches && devices.length <= 8;
        cards.set(device.uuid, card);
      }
      const card = cards.get(device.uuid);
      if (box.children[place] !== card) box.insertBefore(card, box.children[place] || null);
      fillDevice(card, device, state);
    });
  };

  const fillHost = (state) => {
    const { host } = state;
    show(slot(document, "host"), Boolean(host));
    if (!host) return;
    figure(slot(document, "cpu"), host.cpu_busy_ratio, percent);
    figure(slot(document, "iowait"), host.cpu_iowait_ratio, percent);
    const total = has(host.memory_total_bytes) ? ` / ${joined(bytes)(host.memory_total_bytes)}` : "";
    figure(slot(document, "hostMemory"), host.memory_used_bytes, (value) => joined(bytes)(value) + total);
    figure(slot(document, "load"), host.load1, (value) => grouped(value, 2));
    figure(slot(document, "hostPower"), host.power_watts, joined(watts));
  };

  const fillHead = (state) => {
    document.title = `${state.node} · wattledger`;
    write(slot(document, "node"), state.node);
    const count = `${state.devices.length} ${state.devices.length === 1 ? "GPU" : "GPUs"}`;
    const source = state.simulated ? "simulated" : `${state.source}${state.driver_version ? `, driver ${state.driver_version}` : ""}`;
    const stretched = state.interval_stretched ? " (stretched to spare the node)" : "";
    write(slot(document, "about"), `${count} · ${source} · every ${grouped(state.interval_seconds, 0, 1)} s${stretched}`);
    write(slot(document, "version"), `wattledger ${state.version}`);
    show(slot(document, "simulated"), state.simulated);
    show(slot(document, "message"), Boolean(state.message), state.message || "");
    const down = state.collectors.filter((collector) => !collector.up);
    const told = down.map(({ collector, message }) => `${collector} is down${message ? `: ${message}` : ""}`).join("; ");
    show(slot(document, "collectors"), down.length > 0, told);
  };

  let last = null;
  let trouble = "";
  const age = () => (has(last.state.sweep_age_seconds) ? last.state.sweep_age_seconds + (performance.now() - last.at) / 1000 : null);
  const fillAge = () => {
    if (!last) {
      write(slot(document, "age"), "waiting for the agent");
      show(slot(document, "silent"), Boolean(trouble), `The agent does not answer (${trouble}).`);
      return;
    }
    const seconds = age();
    const old = !has(seconds) || seconds > Math.max(6, 4 * last.state.interval_seconds);
    document.body.classList.toggle("stale", old || Boolean(trouble));
    write(slot(document, "age"), has(seconds) ? `${trouble || old ? "last sweep" : "live · swept"} ${ago(seconds)} ago` : "no sweep yet");
    const since = has(seconds) ? `All figures are ${ago(seconds)} old.` : "";
    if (trouble) show(slot(document, "silent"), true, `The agent does not answer (${trouble}). ${since}`);
    else show(slot(document, "silent"), old, has(seconds) ? `The agent answers, but has not finished a sweep. ${since}` : "The agent has not finished its first sweep.");
  };

  const fill = (state) => {
    document.body.classList.remove("waiting");
    fillHead(state);
    fillTotals(state);
    fillServing(state);
    fillDevices(state);
    fillHost(state);
  };
  const fetchState = async () => {
    const answer = await fetch("/v1/state", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((error) => {
      throw new Error(error.name === "TimeoutError" ? "no answer in time" : "not reachable");
    });
    if (answer.status === 401) throw new Error("it asks for a token: reload the page");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  };
  let asking = false;
  const refresh = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const state = await fetchState();
      last = { state, at: performance.now() };
      trouble = "";
      fill(state);
    } catch (error) {
      trouble = error.name === "TimeoutError" ? "no answer in time" : error.message;
    } finally {
      asking = false;
      fillAge();
    }
  };

  const glossary = slot(document, "glossary");
  for (const [account, meaning] of Object.entries(ACCOUNTS)) {
    const term = element("dt");
    term.append(element("span", `swatch ${account}`), document.createTextNode(account));
    glossary.append(term, element("dd", "", meaning));
  }
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, POLL_MS);
  setInterval(fillAge, 1000);
  refresh();
})();
