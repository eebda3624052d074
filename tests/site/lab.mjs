// Run All in a real JupyterLab and a real browser: node lab.mjs [--all] [NOTEBOOK...]
//
// The notebooks are those of a fresh copy, as `ganad-lab` makes it, named by their paths below `nbs`; without a name a
// representative few, with --all every one. CHROMIUM names another browser, RUN_ALL_SECONDS how long a notebook may take.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const FEW = ["core/50_plots.ipynb", "book/10_notation.ipynb", "exercises/90_rsrae.ipynb"];
const LIMIT = 1000 * Number(process.env.RUN_ALL_SECONDS ?? 1800);
const PATIENCE = 300_000; // ms for the server, a page, a kernel: generous, since the machine may have much else to do
const TOKEN = "tests";
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const folder = mkdtempSync(join(tmpdir(), "ganad-lab-"));
const made = spawnSync("python", ["-c", "import sys; from ganad.commands import lab_main; sys.exit(lab_main([sys.argv[1], '--no-open']))", folder], { encoding: "utf8" });
if (made.status) throw new Error(`no copy of the notebooks: ${made.stderr}`);
const every = readdirSync(join(folder, "nbs"), { recursive: true }).filter((f) => f.endsWith(".ipynb") && !f.includes("checkpoint")).sort();
const named = process.argv.slice(2).filter((word) => word !== "--all");
const notebooks = named.length ? named : process.argv.includes("--all") ? every : FEW;

function browserPath() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const paths = process.env.PATH.split(delimiter).flatMap((place) => names.map((name) => join(place, name)));
  const found = process.env.CHROMIUM ?? paths.find(existsSync);
  if (!found) throw new Error("no Chromium on the PATH: install it, or set CHROMIUM to the path of one");
  return found;
}
const freePort = () => new Promise((done) => { const s = createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => done(port)); }); });

const port = await freePort(), address = `http://127.0.0.1:${port}`;
const api = async (path) => (await fetch(`${address}/api/${path}?token=${TOKEN}`)).json();
const server = spawn("python", ["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", `--port=${port}`, `--IdentityProvider.token=${TOKEN}`,
  `--ServerApp.root_dir=${folder}`], { stdio: "ignore", env: { ...process.env, MPLBACKEND: "" } });

async function up() {
  for (const begun = Date.now(); Date.now() - begun < PATIENCE; ) { try { await api("status"); return; } catch { await pause(500); } }
  throw new Error(`JupyterLab does not answer after ${PATIENCE / 60000} minutes`);
}

// A dialog may ask which kernel, or whether to restart it: both are answered with yes
const accept = async (tab) => { const yes = tab.locator(".jp-Dialog button.jp-mod-accept"); if (await yes.count()) await yes.first().click({ timeout: 5000 }).catch(() => {}); }; // it may just have closed

async function runAll(browser, name) {
  const tab = await browser.newPage({ viewport: { width: 1400, height: 1000 } }), begun = Date.now();
  const ran = async () => { const s = (await api("sessions")).find((one) => one.path === `nbs/${name}`); return s && s.kernel; };
  tab.setDefaultTimeout(PATIENCE);
  await tab.goto(`${address}/lab/workspaces/w${begun}/tree/nbs/${name}?token=${TOKEN}&reset`);
  await tab.waitForSelector(".jp-Notebook");
  while (Date.now() - begun < PATIENCE && !(await ran())) { await accept(tab); await pause(500); }
  await pause(2000);
  await tab.getByRole("menuitem", { name: "Run", exact: true }).click();
  await tab.locator('[data-command="runmenu:run-all"]').last().click();
  await pause(1500); await accept(tab);
  const file = join(folder, "nbs", name);
  let state = "not done in time", cells = [];
  while (Date.now() - begun < LIMIT) {
    await pause(2000); await accept(tab);
    if ((await ran())?.execution_state !== "idle") continue;
    await tab.keyboard.press("Control+s"); await pause(2000);
    cells = JSON.parse(readFileSync(file)).cells.filter((c) => c.cell_type === "code" && c.source.join("").trim());
    const errors = cells.flatMap((c) => c.outputs.filter((o) => o.output_type === "error").map((o) => `${o.ename}: ${o.evalue}`.slice(0, 200)));
    if (errors.length) { state = errors[0]; break; }
    if (cells.every((c) => c.execution_count)) { state = ""; break; }
  }
  const widgets = cells.filter((c) => c.outputs.some((o) => o.data?.["application/vnd.jupyter.widget-view+json"]) && c.source.join("").startsWith("slider(")).length;
  const sliders = cells.filter((c) => c.source.join("").startsWith("slider(")).length;
  if (!state && widgets < sliders) state = `${sliders - widgets} of ${sliders} sliders do not show`;
  console.log(`lab: ${name}: ${state || "all cells ran"}, ${sliders} sliders, ${Math.round((Date.now() - begun) / 1000)} s`);
  await tab.close();
  const kernel = await ran();
  if (kernel) await fetch(`${address}/api/kernels/${kernel.id}?token=${TOKEN}`, { method: "DELETE" });
  return state;
}

let bad = 0;
try {
  await up();
  const browser = await chromium.launch({ executablePath: browserPath(), args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"] });
  for (const name of notebooks) try { if (await runAll(browser, name)) bad++; } catch (error) { bad++; console.log(`lab: ${name}: ${String(error).split("\n")[0]}`); }
  await browser.close();
} finally {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${notebooks.length} notebooks run in JupyterLab, ${bad} with a fault`);
process.exit(bad ? 1 : 0);
