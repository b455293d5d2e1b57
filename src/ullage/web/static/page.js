// What the browser does by itself: hand clicks on, grow fields, send files, open dialogs, keep focus.
"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Light or dark: what the system says, until a person chooses.
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  document.documentElement.lang = "en";

  function turnTheme() {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  }

  // One listener on the page: the nearest [data-act] says what it is.
  function act(event, emit) {
    const element = event.target.closest("[data-act]");
    if (!element || (element.dataset.on || "click") !== event.type || element.disabled) return;
    if (event.type === "submit" || element.tagName === "A") {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
    }
    if (element.dataset.sure && !sure(element)) return;
    const told = { act: element.dataset.act, value: element.dataset.value || "", form: {} };
    if (element.tagName === "FORM") told.form = Object.fromEntries(new FormData(element));
    if (told.act.startsWith("show.")) show(told.act.slice(5), element.getAttribute("href"));
    emit(told);
    if ("clear" in element.dataset) {
      element.reset();
      all("[data-grow]", element).forEach(grow);
    }
  }

  // A second click within four seconds does what cannot be undone.
  function sure(button) {
    if (button.dataset.asked) return true;
    const before = button.textContent;
    button.dataset.asked = "1";
    button.textContent = button.dataset.sure;
    setTimeout(() => { delete button.dataset.asked; if (button.isConnected) button.textContent = before; }, 4000);
    return false;
  }

  function show(name, address) {
    all("nav [data-part]").forEach((link) => {
      if (link.dataset.part === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    if (address && location.pathname !== address) history.pushState({ name }, "", address);
  }
  addEventListener("popstate", () => {
    const name = location.pathname.slice(1) || "chat";
    find(`nav [data-part="${CSS.escape(name)}"]`)?.click();
  });

  const local = {
    theme: turnTheme,
    close: (element) => element.closest("dialog")?.close(),
    scope: () => find(".panel.chat")?.classList.toggle("with-scope"),
    copy: (element) => navigator.clipboard?.writeText(find(".prose", element.closest(".answer")).innerText)
      .then(() => toast("Copied.", "good"), () => toast("The browser does not allow copying here.", "bad")),
    dismiss: (element) => element.closest("li").remove(),
  };
  document.addEventListener("click", (event) => {
    const element = event.target.closest("[data-local]");
    if (element && element.dataset.local in local) local[element.dataset.local](element);
    if (event.target.tagName === "DIALOG") event.target.close();
  });

  function grow(field) {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight, 200)}px`;
  }
  document.addEventListener("input", (event) => { if ("grow" in event.target.dataset) grow(event.target); });
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select");
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && field && "enter" in field.dataset) {
      event.preventDefault();
      if (!find(".composer.busy")) field.form.requestSubmit();
    } else if (event.key === "/" && !field && !find("dialog[open]")) {
      const question = find("#question");
      if (question?.offsetParent) { event.preventDefault(); question.focus(); }
    } else if (event.key === "Escape" && !find("dialog[open]")) {
      find(".composer.busy .stop")?.click();
    }
  });

  // Parts are drawn anew; who had the focus gets it back.
  const keyOf = (element) => element.id ? `#${CSS.escape(element.id)}` : element.dataset?.act
    ? `[data-act="${CSS.escape(element.dataset.act)}"][data-value="${CSS.escape(element.dataset.value || "")}"]` : null;
  let focused = null;
  document.addEventListener("focusin", (event) => { focused = keyOf(event.target); });
  document.addEventListener("pointerdown", () => { focused = null; }, true);

  // The conversation follows its end, unless a person scrolled up.
  let following = true;
  const thread = () => find(".thread");
  function follow(now) {
    if (now) following = true;
    const list = thread();
    if (list && following) list.scrollTop = list.scrollHeight;
  }
  document.addEventListener("scroll", (event) => {
    if (event.target === thread()) {
      const list = event.target;
      following = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    }
  }, true);

  new MutationObserver((changes) => {
    if (focused && document.activeElement === document.body) find(focused)?.focus({ preventScroll: true });
    if (changes.some((change) => change.target.nodeType === 1 && change.target.closest?.(".thread"))) follow(false);
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });

  function toast(text, kind = "info") {
    let rack = find(".toasts");
    if (!rack) {
      rack = Object.assign(document.createElement("div"), { className: "toasts" });
      rack.setAttribute("role", "status");
      document.body.append(rack);
    }
    const line = Object.assign(document.createElement("p"), { className: `toast ${kind}`, textContent: text });
    rack.append(line);
    setTimeout(() => line.remove(), kind === "bad" ? 9000 : 4000);
  }

  function dialog(selector) {
    const element = find(selector);
    if (!element) return;
    if (!element.open) element.showModal();
    const image = find("img.picture", element);
    const toBox = () => find(".box", element)?.scrollIntoView({ block: "center" });
    if (image?.complete) toBox();
    else image?.addEventListener("load", toBox, { once: true });
  }

  // A page that cannot be shown says why.
  document.addEventListener("error", async (event) => {
    const image = event.target;
    if (image.tagName !== "IMG" || !image.classList.contains("picture")) return;
    image.classList.add("missing");
    const caption = image.closest("figure")?.querySelector("figcaption");
    if (!caption) return;
    image.closest(".sheet-frame").classList.add("missing");
    const answer = await fetch(image.src).catch(() => null);
    const said = answer && await answer.json().catch(() => null);
    caption.textContent = said?.message || "This page cannot be shown as a picture.";
  }, true);

  // Files go one by one, three at a time; each has its line until the ingestor has it.
  const AT_ONCE = 3;
  const waiting = [];
  let sending = 0;

  function take(files) {
    const zone = find("[data-drop]");
    for (const file of files) {
      const entry = { file, collection: zone.dataset.collection, most: Number(zone.dataset.most) };
      entry.line = lineOf(entry);
      waiting.push(entry);
    }
    next();
  }

  function lineOf(entry) {
    const line = document.createElement("li");
    line.innerHTML = '<div class="work-line"><b></b><span class="badge"></span><span class="push"></span>' +
      '<button type="button" class="small"></button></div>' +
      '<div class="progress"><span></span></div><p class="reason"></p>';
    find("b", line).textContent = entry.file.name;
    find(".sending").append(line);
    state(entry, line, "Waiting");
    return line;
  }

  function state(entry, line, text, reason = "") {
    line.classList.toggle("failed", Boolean(reason));
    find(".badge", line).textContent = text;
    find(".badge", line).classList.toggle("bad", Boolean(reason));
    find(".reason", line).textContent = reason;
    find(".progress", line).hidden = Boolean(reason);
    const button = find("button", line);
    button.textContent = reason ? "Retry" : "Cancel";
    button.setAttribute("aria-label", `${button.textContent} ${entry.file.name}`);
    button.onclick = () => (reason ? again(entry) : cancel(entry));
    find(".hide", line)?.remove();
    if (reason) {
      const hide = Object.assign(document.createElement("button"), { type: "button", className: "small hide", textContent: "Hide" });
      hide.dataset.local = "dismiss";
      hide.setAttribute("aria-label", `Hide ${entry.file.name}`);
      button.after(hide);
    }
  }

  function again(entry) {
    state(entry, entry.line, "Waiting");
    waiting.push(entry);
    next();
  }

  function cancel(entry) {
    const place = waiting.indexOf(entry);
    if (place >= 0) waiting.splice(place, 1);
    entry.request?.abort();
    entry.line.remove();
  }

  function next() {
    while (sending < AT_ONCE && waiting.length) send(waiting.shift());
  }

  function send(entry) {
    const { file, line, most } = entry;
    if (file.size > most) {
      state(entry, line, "Failed", `${file.name} has ${file.size} bytes; a file may have ${most} (max_upload).`);
      return;
    }
    sending += 1;
    const request = entry.request = new XMLHttpRequest();
    const body = new FormData();
    body.append("documents", file, file.name);
    body.append("data", JSON.stringify({ collection_name: entry.collection, blocking: false }));
    state(entry, line, "Sending");
    request.upload.onprogress = (event) => {
      find(".progress span", line).style.width = `${(100 * event.loaded / Math.max(1, event.total)).toFixed(1)}%`;
    };
    request.onloadend = () => { sending -= 1; next(); };
    request.onload = () => settled(entry, request);
    request.onerror = () => state(entry, line, "Failed", "The connection broke off while the file was sent.");
    request.open("POST", `/upload?collection=${encodeURIComponent(entry.collection)}`);
    request.setRequestHeader("X-Ullage-Page", "1");
    request.send(body);
  }

  async function settled(entry, request) {
    let said = {};
    try { said = JSON.parse(request.responseText); } catch { said = { message: `status ${request.status}` }; }
    if (request.status === 200 && said.task_id) {
      entry.line.remove();
      emitEvent("sent", {});
    } else {
      const detail = Array.isArray(said.detail) ? said.detail.map((fault) => fault.msg).join("; ") : said.detail;
      state(entry, entry.line, "Failed", said.message || detail || `status ${request.status}`);
    }
  }

  document.addEventListener("change", (event) => {
    if (event.target.dataset?.local === "files") { take(event.target.files); event.target.value = ""; }
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = find("[data-drop]");
      if (!zone?.offsetParent) return;
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files);
    });
  }

  function fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = find(`.rank-form [name="${CSS.escape(name)}"]`);
      if (field) field.value = value;
    }
  }

  function offer(there) {
    const button = find(".rank-form .take");
    if (button) button.disabled = !there;
  }

  globalThis.ullage = { act, toast, dialog, follow, fill, offer };
})();
