// Look at every page of the built documentation in a real browser: node browse.mjs SITE [SCREENSHOT_FOLDER [PAGE...]]
//
// Each page is opened at the widths of a desktop, a tablet and a phone, light and dark; axe-core looks at it on the desktop.
// Whatever a page loads from elsewhere is served from the npm package of the same name and version, so the test needs no
// network; CHROMIUM names another browser than the one on the PATH. An empty folder ("") takes no screenshots.
import { createServer } from "node:http";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, dirname, extname, join, posix, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const HERE = dirname(fileURLToPath(import.meta.url));
const SITE = resolve(process.argv[2] ?? join(HERE, "../../_docs"));
const SHOTS = process.argv[3] && resolve(process.argv[3]);
const ONLY = process.argv.slice(4);
// Each page is loaded once a width, in one scheme, and then switched to the other, as the reader's system would do
const WIDTHS = {
  desktop: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  tablet: { viewport: { width: 820, height: 1180 }, colorScheme: "light", isMobile: true, hasTouch: true },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true, hasTouch: true },
};
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript",
  ".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf",
  ".xml": "application/xml" };
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const MOST = 8; // faults shown for a page in one view
const HEAVIEST = 2e6; // bytes of a page with its figures
const PATIENCE = 180_000; // ms for a page to load and for each thing waited for, on a machine that has much else to do

const AXE = readFileSync(join(HERE, "node_modules/axe-core/axe.min.js"), "utf8");
// Faults of the renderer's own, which none of our files can mend: rule of axe, elements, why
const RENDERER = [
  ["scrollable-region-focusable", "main *", "boxes that scroll have no tabindex; today's browsers let the keyboard scroll them all the same"],
];

const faults = new Map();
const fault = (where, what) => faults.set(where, [...(faults.get(where) ?? []), what]);
const isFile = (path) => existsSync(path) && statSync(path).isFile();
const files = readdirSync(SITE, { recursive: true }).map((f) => f.replaceAll("\\", "/"));
const all = files.filter((f) => f.endsWith(".html") && !f.startsWith("site_libs/")).sort();
const pages = all.filter((f) => !ONLY.length || ONLY.includes(f));
// Where the site will be published: links to that address are links to this site
const sitemap = join(SITE, "sitemap.xml");
const published = isFile(sitemap) ? /<loc>(.*?)<\/loc>/.exec(readFileSync(sitemap, "utf8"))[1] : "";
const base = published && new URL(".", all.reduce((url, page) => (url.endsWith("/" + page) ? url.slice(0, -page.length) : url), published));
const prefix = base ? base.pathname : "/";

function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  for (const folder of process.env.PATH.split(delimiter))
    for (const name of names) if (isFile(join(folder, name))) return join(folder, name);
  throw new Error("no Chromium on the PATH: install it, or set CHROMIUM to the path of one");
}

// A path below the address of the site -> a file of it, or null
function siteFile(pathname) {
  const path = decodeURIComponent(pathname);
  if (!path.startsWith(prefix)) return null;
  const name = posix.normalize(path.slice(prefix.length) || "index.html");
  if (name.startsWith("..")) return null;
  return [name, posix.join(name, "index.html")].find((f) => isFile(join(SITE, f))) ?? null;
}

function serve() {
  const server = createServer((request, response) => {
    const file = siteFile(new URL(request.url, "http://site").pathname);
    response.writeHead(file ? 200 : 404, { "content-type": (file && TYPES[extname(file)]) || "application/octet-stream" });
    response.end(file ? readFileSync(join(SITE, file)) : "not found");
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

// What a page asks of the world outside: the npm package of the same version stands in; a web font may fall back
async function outside(route, where) {
  const url = new URL(route.request().url());
  const npm = /^\/npm\/((?:@[^/]+\/)?[^@/]+)@([^/]+)\/(.+)$/.exec(url.pathname);
  if (npm && url.hostname.includes("jsdelivr")) {
    const [, name, version, path] = npm;
    const folder = join(HERE, "node_modules", name);
    const have = isFile(join(folder, "package.json")) && JSON.parse(readFileSync(join(folder, "package.json"))).version;
    if (have === version && isFile(join(folder, path)))
      return route.fulfill({ path: join(folder, path), contentType: TYPES[extname(path)], headers: { "access-control-allow-origin": "*" } });
    fault(where, `loads ${path} of ${name} ${version}: add that version to tests/site/package.json (${have || "none"} is there)`);
  } else if (url.hostname.startsWith("fonts.")) return route.fulfill({ body: "", contentType: "text/css" });
  else fault(where, `loads a file from elsewhere: ${url}`);
  return route.abort();
}

// Runs in the page: what a reader would stumble over
function inspect() {
  const found = [], shorten = (s) => s.trim().replace(/\s+/g, " ").slice(0, 80);
  if (!document.title.trim()) found.push("has no title");
  const headings = document.querySelectorAll("h1").length;
  if (headings !== 1) found.push(`has ${headings} first-level headings`);
  if (!document.querySelector(".page-navigation a")) found.push("has no link to the previous or the next page");
  for (const img of document.images) {
    const name = img.src.startsWith("data:") ? "an embedded figure" : img.src;
    if (!img.complete || !img.naturalWidth) found.push(`image does not load: ${name}`);
    if (!(img.getAttribute("alt") ?? "").trim()) {
      const before = [...document.querySelectorAll("main h2, main h3")].filter((h) => h.compareDocumentPosition(img) & 4).pop();
      found.push(`${name} has no alt text (below "${shorten(before?.textContent ?? "the title")}")`);
    }
  }
  for (const math of document.querySelectorAll(".math")) if (!math.querySelector(".katex, mjx-container")) found.push(`mathematics not rendered: ${shorten(math.textContent)}`);
  for (const bad of document.querySelectorAll(".katex-error")) found.push(`mathematics with an error: ${shorten(bad.title || bad.textContent)}`);
  for (const tag of document.querySelectorAll(".katex-html > .tag")) {
    const box = tag.getBoundingClientRect(), body = [...tag.parentElement.querySelectorAll(":scope > .base")];
    if (body.some((b) => b.getBoundingClientRect().right > box.left + 1 && b.getBoundingClientRect().bottom > box.top + 1))
      found.push(`equation ${tag.textContent} and its number overlap`);
  }
  const raw = [/\$\$/, /\\tag/, /\\[([]/, /\\[a-zA-Z]{2,}/, /\$[^\s$][^$\n]{0,120}\$/, /^:::/m, /\{\.callout/];
  const walker = document.createTreeWalker(document.querySelector("main") ?? document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (walker.currentNode.parentElement.closest("pre, code, script, style, .math, .katex, mjx-container")) continue;
    const text = walker.currentNode.data, hit = raw.find((r) => r.test(text));
    if (hit) found.push(`source text shows (${hit.source}): ${shorten(text)}`);
  }
  // Wider than the window, and in no box that scrolls by itself
  const room = document.documentElement.clientWidth, scrolls = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX);
  const over = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > room + 1 && !e.closest("svg, .katex-mathml") && e.checkVisibility());
  const loose = over.filter((e) => { for (let p = e.parentElement; p; p = p.parentElement) if (scrolls(p) || over.includes(p)) return false; return !scrolls(e); });
  for (const e of loose.slice(0, 3)) found.push(`wider than the screen: <${e.localName} class="${e.className}"> ${shorten(e.textContent)}`);
  const wide = document.documentElement.scrollWidth - room;
  if (wide > 0) found.push(`scrolls sideways by ${wide} px`);
  return found;
}

// Runs in the page: whether it is light or dark behind the text, and the page's script has noticed
function isIn(scheme) {
  const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number), light = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
  const marked = document.querySelector("html.quarto-dark, body.quarto-dark") !== null;
  return scheme === "dark" ? light < 0.3 && marked : light > 0.7 && !marked;
}

// Runs in the page: its links and anchors
const linksAndIds = () => ({
  links: [...document.querySelectorAll("a[href]")].map((a) => a.href),
  ids: [...document.querySelectorAll("[id]")].map((e) => e.id),
});

// Runs in the page: the serious faults that axe finds. Code has the same few colours everywhere, and mathematics that of the
// text around it: the first blocks of code stand for all, or half of the time would go there.
async function axeFaults({ rules, renderer }) {
  for (const code of [...document.querySelectorAll("pre code")].slice(4)) code.textContent = code.textContent;
  const { violations } = await axe.run({ exclude: [[".katex"]] }, { runOnly: rules, resultTypes: ["violations"] });
  const own = (id, node) => !renderer.some(([rule, selector]) => rule === id && document.querySelector(node.target.at(-1))?.matches(selector));
  const shown = (node) => `${node.any[0]?.message ?? ""} ${node.html.replace(/\s+/g, " ").slice(0, 120)}`.trim();
  return violations.filter((v) => ["serious", "critical"].includes(v.impact)).flatMap((v) =>
    v.nodes.filter((node) => own(v.id, node)).map((node) => `${v.id}: ${shown(node)}`));
}

async function look(context, width, page, address, seen) {
  const schemes = WIDTHS[width].colorScheme === "light" ? ["light", "dark"] : ["dark", "light"], tab = await context.newPage();
  let where = `${page} (${width}, ${schemes[0]})`;
  tab.on("console", (message) => message.type() === "error" && fault(where, `console: ${message.text()}`));
  tab.on("pageerror", (error) => fault(where, `script: ${error.message}`));
  tab.on("response", (response) => response.status() >= 400 && fault(where, `${response.status()} for ${response.url().replace(address, "")}`));
  await tab.route((url) => url.protocol.startsWith("http") && !url.href.startsWith(address), (route) => outside(route, where));
  await tab.goto(address + prefix.slice(1) + page, { waitUntil: "load" });
  await tab.evaluate(() => document.fonts.ready);
  if (width === "desktop") seen.set(page, await tab.evaluate(linksAndIds));
  if (width === "phone") await openMenu(tab, where);
  for (const scheme of schemes) {
    where = `${page} (${width}, ${scheme})`;
    await showIn(tab, scheme, where);
    for (const what of await tab.evaluate(inspect)) fault(where, what);
    const name = `${page.replaceAll("/", "-").replace(".html", "")}-${width}-${scheme}.png`;
    if (SHOTS) await tab.screenshot({ path: join(SHOTS, name), fullPage: true });
  }
  if (width === "desktop") await askAxe(tab, schemes, page);
  await tab.close();
}

// Switch the page to a scheme, and wait until it is in it
async function showIn(tab, scheme, where) {
  await tab.emulateMedia({ colorScheme: scheme });
  try { await tab.waitForFunction(isIn, scheme, { polling: 50 }); } catch { fault(where, `does not become ${scheme}`); }
}

// All rules of WCAG 2, levels A and AA, in the scheme that the page is in; contrast also in the other
async function askAxe(tab, [other, current], page) {
  await tab.addStyleTag({ content: "* { transition: none !important }" }); // no colours half way from one scheme to the other
  await tab.evaluate(AXE);
  for (const scheme of [current, other]) {
    const where = `${page} (desktop, ${scheme})`, rules = scheme === current ? ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] : ["color-contrast"];
    await showIn(tab, scheme, where);
    for (const what of await tab.evaluate(axeFaults, { rules, renderer: RENDERER })) fault(where, what);
  }
}

async function openMenu(tab, where) {
  const button = tab.locator(".quarto-btn-toggle:visible").first();
  if (!(await button.count())) return fault(where, "has no button that opens the sidebar");
  await button.click();
  try { await tab.locator("#quarto-sidebar a:visible").first().waitFor(); } catch { fault(where, "the sidebar does not open"); }
  await button.click();
}

// All pages at one width. Each browser has one tab: those behind another draw nothing, and so never notice a switch of scheme
async function lookAtAll(browsers, width, address, seen) {
  const queue = [...pages];
  await Promise.all(browsers.map(async (browser, first) => {
    const context = await browser.newContext(WIDTHS[width]);
    context.setDefaultTimeout(PATIENCE);
    while (queue.length) await look(context, width, queue.shift(), address, seen);
    if (width === "desktop" && first === 0) await checkSearch(context, address);
    await context.close();
  }));
}

function checkWeight(page) {
  const bytes = statSync(join(SITE, page)).size;
  if (bytes > HEAVIEST) fault(page, `weighs ${(bytes / 1e6).toFixed(2)} MB, more than ${HEAVIEST / 1e6}: its figures are too large`);
}

function checkLinks(seen, address) {
  for (const [page, { links }] of seen) {
    const notebook = links.find((href) => href.startsWith("https://colab.research.google.com/"))?.split("/nbs/")[1];
    if (!notebook) fault(page, "has no link that opens it in Colab");
    else if (!links.some((href) => href.endsWith("/" + notebook) && href.startsWith(base?.href))) fault(page, `has no link that downloads ${notebook}`);
  }
  for (const [page, { links }] of seen) for (const href of new Set(links)) {
    let url = new URL(href);
    if (base && href.startsWith(base.href)) url = new URL(href.replace(base.origin + "/", address));
    if (!url.href.startsWith(address)) continue;
    const file = siteFile(url.pathname), anchor = decodeURIComponent(url.hash.slice(1));
    const shown = href.replace(address, "/");
    if (!file) fault(page, `link to a page that is not there: ${shown}`);
    else if (anchor && seen.has(file) && !seen.get(file).ids.includes(anchor)) fault(page, `link to a place that is not there: ${shown}`);
  }
}

async function checkSearch(context, address) {
  const tab = await context.newPage();
  await tab.route((url) => url.protocol.startsWith("http") && !url.href.startsWith(address), (route) => outside(route, "search"));
  await tab.goto(address + prefix.slice(1) + "index.html");
  await tab.locator(".smalldocs-search input:visible").first().fill("settings");
  try {
    await tab.locator(".smalldocs-search-results a").first().click();
    await tab.waitForURL(/settings/);
  } catch { fault("search", 'a search for "settings" does not lead to its page'); }
  await tab.close();
}

const server = await serve();
const address = `http://127.0.0.1:${server.address().port}/`;
if (SHOTS) mkdirSync(SHOTS, { recursive: true });
const launch = () => chromium.launch({ executablePath: browserPath(), args: ARGS });
const browsers = await Promise.all(Array.from({ length: availableParallelism() }, launch));
try {
  if (!pages.length) fault(SITE, "no pages");
  if (!all.includes("index.html")) fault(SITE, "no home page (index.html)");
  const seen = new Map();
  for (const width of Object.keys(WIDTHS)) await lookAtAll(browsers, width, address, seen);
  checkLinks(seen, address);
  pages.forEach(checkWeight);
} finally {
  await Promise.all(browsers.map((browser) => browser.close()));
  server.close();
}
let count = 0;
for (const [where, found] of faults) {
  count += found.length;
  for (const what of found.slice(0, MOST)) console.log(`site: ${where}: ${what}`);
  if (found.length > MOST) console.log(`site: ${where}: and ${found.length - MOST} more`);
}
console.log(`${pages.length} pages looked at at ${Object.keys(WIDTHS).length} widths, light and dark, ${count} faults`);
process.exit(count ? 1 : 0);
