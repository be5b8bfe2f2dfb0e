// Uses JupyterLab as a person does, with mouse and keyboard, and says what works: one PASS or FAIL line for each check.
//
//   LAB_URL LAB_TOKEN   the server            LAB_WORK     its folder, where the notebooks are written
//   LAB_KERNEL          the kernelspec        LAB_DISPLAY  the name by which a person knows it
//   LAB_RESULTS         file for the results  LAB_IMAGES   folder for screenshots; none without it
//   LAB_ONLY            run only checks whose `feature: name` matches this expression
//
// Every check begins with a notebook of its own, in a workspace of its own, and ends with no kernel.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { LAB_URL, LAB_TOKEN, LAB_WORK, LAB_KERNEL, LAB_DISPLAY, LAB_RESULTS, LAB_IMAGES, LAB_ONLY, LAB_LOGO } = process.env;
const PATIENCE = Number(process.env.LAB_PATIENCE ?? 20_000); // for anything that should come by itself; the machine may be busy
const checks = [];
const check = (feature, name, run) => checks.push({ feature, name, run });

// --- the server, asked directly -------------------------------------------------------------------------------------

async function api(path, options = {}) {
  const answer = await fetch(`${LAB_URL}/api/${path}`, { ...options, headers: { Authorization: `token ${LAB_TOKEN}` } });
  return answer.status === 204 ? null : answer.json();
}
const kernels = () => api('kernels');

async function until(what, probe, timeout = PATIENCE) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < deadline, `not within ${timeout / 1000} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

// --- a notebook in the browser --------------------------------------------------------------------------------------

let counter = 0;
const escaped = text => text.replace(/[()|.[\]*+?]/g, '\\$&');

class Notebook {
  constructor(page, path) {
    this.page = page;
    this.path = path;
    this.panel = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
    this.cells = this.panel.locator('.jp-Notebook .jp-Cell');
    this.status = this.panel.locator('.jp-Notebook-ExecutionIndicator');
  }

  static async open(page, cells, kernel = LAB_KERNEL) {
    const name = `check-${++counter}`;
    const notebook = {
      cells: cells.map((source, at) => ({ cell_type: 'code', id: `cell-${at}`, metadata: {}, execution_count: null, outputs: [], source })),
      metadata: { kernelspec: { name: kernel, display_name: LAB_DISPLAY, language: 'python' }, language_info: { name: 'python' } },
      nbformat: 4,
      nbformat_minor: 5,
    };
    // In a folder of its own, so that the file browser shows it alone.
    mkdirSync(join(LAB_WORK, name));
    writeFileSync(join(LAB_WORK, name, 'notebook.ipynb'), JSON.stringify(notebook));
    const opened = new Notebook(page, `${name}/notebook.ipynb`);
    await page.goto(`${LAB_URL}/lab/workspaces/${name}/tree/${opened.path}`);
    await opened.ready();
    return opened;
  }

  // Until a kernel is there, everything is shown as idle.
  async ready() {
    await this.cells.first().waitFor();
    await this.page.locator('.jp-StatusBar-Widget', { hasText: new RegExp(`${escaped(LAB_DISPLAY)} \\| Idle`) }).waitFor();
    await until('a session', async () => (await api('sessions')).some(one => one.kernel?.connections > 0 && (!this.path || one.path === this.path)));
    await this.idle();
  }

  idle(timeout) { return this.is('idle', timeout); }
  busy(timeout) { return this.is('busy', timeout); }
  async is(state, timeout = PATIENCE) {
    await this.panel.locator(`.jp-Notebook-ExecutionIndicator[data-status="${state}"]`).waitFor({ state: 'attached', timeout });
  }

  cell(at) { return this.cells.nth(at); }
  editor(at) { return this.cell(at).locator('.cm-content'); }
  output(at) { return this.cell(at).locator('.jp-OutputArea-output'); }
  prompt(at) { return this.cell(at).locator('.jp-InputPrompt'); }
  text(at) { return this.cell(at).locator('.jp-Cell-outputArea').innerText(); }

  async select(at) { await this.editor(at).click(); }

  // Begins a cell and comes back when it shows that it runs; `run` also waits for its end.
  async begin(at) {
    await this.select(at);
    await this.page.keyboard.press('Control+Enter');
  }

  async run(at, timeout = PATIENCE) {
    const before = await this.prompt(at).innerText();
    await this.begin(at);
    await this.ran(at, before, timeout);
  }

  async ran(at, before, timeout = PATIENCE) {
    await until(`cell ${at} has run (its prompt is "${await this.prompt(at).innerText()}")`, async () => {
      const now = await this.prompt(at).innerText();
      return /^\[\d+\]/.test(now) && now !== before;
    }, timeout);
  }

  async has(at, words, timeout = PATIENCE) {
    let seen = '';
    await until(`cell ${at} shows ${words}`, async () => {
      seen = await this.text(at).catch(() => '');
      return words instanceof RegExp ? words.test(seen) : seen.includes(words);
    }, timeout).catch(problem => { throw new Error(`${problem.message}; it shows: ${seen.slice(0, 500)}`); });
  }

  async type(at, text) {
    await this.select(at);
    await this.page.keyboard.press('Control+a');
    await this.page.keyboard.press('Delete');
    await this.page.keyboard.type(text, { delay: 10 });
  }

  button(command) { return this.panel.locator(`.jp-Toolbar [data-command="${command}"]`).first(); }
  async accept() { await this.page.locator('.jp-Dialog .jp-mod-accept').click(); }
}

async function picture(page, name) {
  if (!LAB_IMAGES) return;
  mkdirSync(LAB_IMAGES, { recursive: true });
  await page.screenshot({ path: join(LAB_IMAGES, `${name}.png`), animations: 'disabled' });
}

// --- what is checked --------------------------------------------------------------------------------------------------

check('launcher', 'the launcher has a tile with the logo, and a click on it gives a notebook that runs', async page => {
  await page.goto(`${LAB_URL}/lab/workspaces/launcher?reset`);
  const tile = page.locator(`.jp-LauncherCard[title="${LAB_DISPLAY}"][data-category="Notebook"]`);
  await tile.waitFor();
  const logo = tile.locator('img');
  await until('the logo is drawn', () => logo.evaluate(image => image.complete && image.naturalWidth > 0));
  await page.locator('.jp-LauncherCard[data-category="Console"]').first().waitFor();
  const shown = Buffer.from(await page.evaluate(async source => [...new Uint8Array(await (await fetch(source)).arrayBuffer())], await logo.getAttribute('src')));
  assert.ok(shown.equals(readFileSync(LAB_LOGO)), 'the tile does not show the kernelspec\'s own logo');
  await picture(page, 'launcher');
  await tile.click();
  const notebook = new Notebook(page);
  await notebook.ready();
  assert.match(await notebook.panel.locator('.jp-Toolbar-kernelName').innerText(), new RegExp(escaped(LAB_DISPLAY)));
  await notebook.type(0, '6 * 7');
  await notebook.run(0);
  await notebook.has(0, '42');
});

check('run cells', 'cells run in order, with prints, errors\' stream and results', async page => {
  const notebook = await Notebook.open(page, ['import sys\nx = 1\nprint("out", x)\nprint("err", file=sys.stderr)', 'x += 1\nx', 'x * 10']);
  for (const at of [0, 1, 2]) await notebook.run(at);
  await notebook.has(0, /out 1\s+err/);
  await notebook.has(1, '2');
  await notebook.has(2, '20');
  assert.deepEqual(await Promise.all([0, 1, 2].map(at => notebook.prompt(at).innerText())), ['[1]:', '[2]:', '[3]:']);
  assert.equal(await notebook.cell(0).locator('[data-mime-type="application/vnd.jupyter.stderr"]').count(), 1);
});

check('matplotlib', 'a matplotlib plot is drawn inline', async page => {
  const notebook = await Notebook.open(page, [
    'import math\nimport matplotlib.pyplot as plt\n\nx = [i / 20 for i in range(200)]\nfig, ax = plt.subplots(figsize=(7, 2.6))\n'
      + 'for k in range(1, 5):\n    ax.plot(x, [math.sin(k * v) / k for v in x], label=f"k = {k}")\nax.legend(); ax.set_title("sin(kx) / k")\nplt.show()',
    'import socket, os\nprint("host name:", socket.gethostname(), "- home:", os.path.expanduser("~"))',
  ]);
  await notebook.run(0, 90_000); // the first import builds a font cache
  const image = notebook.output(0).locator('img');
  await image.waitFor();
  const size = await image.evaluate(element => [element.naturalWidth, element.naturalHeight, element.src.slice(0, 22)]);
  assert.ok(size[0] > 300 && size[1] > 100, `an image of ${size}`);
  assert.equal(size[2], 'data:image/png;base64,');
  const colours = await image.evaluate(element => {
    const canvas = Object.assign(document.createElement('canvas'), { width: element.naturalWidth, height: element.naturalHeight });
    const drawing = canvas.getContext('2d');
    drawing.drawImage(element, 0, 0);
    const bytes = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(Array.from({ length: bytes.length / 4 }, (_, at) => bytes.slice(4 * at, 4 * at + 3).join())).size;
  });
  assert.ok(colours > 20, `${colours} colours are no plot`);
  await notebook.run(1);
  await picture(page, 'plot');
});

check('rich output', 'HTML, SVG and Markdown with mathematics are shown as such', async page => {
  const notebook = await Notebook.open(page, [
    'from IPython.display import HTML, SVG, Markdown, display\n'
      + 'display(HTML("<b class=\'mine\'>bold</b>"))\n'
      + 'display(SVG("<svg xmlns=\'http://www.w3.org/2000/svg\' width=\'60\' height=\'20\'><circle cx=\'10\' cy=\'10\' r=\'8\'/></svg>"))\n'
      + 'display(Markdown("A *formula*: $e^{i\\\\pi}$"))',
  ]);
  await notebook.run(0);
  await notebook.output(0).locator('b.mine').waitFor();
  assert.equal(await notebook.output(0).locator('b.mine').evaluate(element => getComputedStyle(element).fontWeight), '700');
  assert.ok(await notebook.output(0).locator('img[src^="data:image/svg"], svg circle').count() > 0, 'no SVG');
  await notebook.output(0).locator('em', { hasText: 'formula' }).waitFor();
  await notebook.output(0).locator('mjx-container').waitFor();
});

check('pandas', 'a pandas table is shown as a table', async page => {
  const notebook = await Notebook.open(page, ['import pandas as pd\npd.DataFrame({"name": ["a", "b", "c"], "value": [1.5, 2.5, None]})']);
  await notebook.run(0, 90_000);
  await notebook.output(0).locator('table.dataframe').waitFor();
  assert.deepEqual(await notebook.output(0).locator('table.dataframe tbody td').allInnerTexts(), ['a', '1.5', 'b', '2.5', 'c', 'NaN']);
});

check('errors', 'an error shows its coloured traceback, and stops what was to run after it', async page => {
  const notebook = await Notebook.open(page, ['def divide(a, b):\n    return a / b\n\ndivide(1, 0)', 'print("must not run")']);
  await page.locator('.lm-MenuBar-item', { hasText: 'Run' }).click();
  await page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click();
  await notebook.has(0, 'ZeroDivisionError: division by zero');
  await notebook.idle();
  assert.ok(await notebook.output(0).locator('.ansi-red-fg, [class*="ansi-"], span[style*="color"]').count() > 0, 'no colours');
  assert.match(await notebook.text(0), /divide\(1, 0\)/);
  assert.ok(!(await notebook.text(1).catch(() => '')).includes('must not run'));
  await picture(page, 'error');
});

check('input()', 'input() and getpass ask in the notebook and get what is typed', async page => {
  const notebook = await Notebook.open(page, [
    'name = input("Your name? ")\nprint("Hello", name)', 'import getpass\nprint("letters:", len(getpass.getpass("Secret? ")))',
  ]);
  await notebook.begin(0);
  const question = notebook.cell(0).locator('.jp-Stdin');
  await question.waitFor();
  assert.match(await question.innerText(), /Your name\?/);
  await picture(page, 'input');
  await question.locator('input').fill('Ada Löve 🍎');
  await question.locator('input').press('Enter');
  await notebook.has(0, 'Hello Ada Löve 🍎');
  await notebook.begin(1);
  const secret = notebook.cell(1).locator('.jp-Stdin input');
  await secret.waitFor();
  assert.equal(await secret.getAttribute('type'), 'password');
  await secret.fill('12345');
  await secret.press('Enter');
  await notebook.has(1, 'letters: 5');
});

check('completion', 'Tab offers what the kernel knows, and a choice is typed in', async page => {
  const notebook = await Notebook.open(page, ['class Thing:\n    alpha_one = 1\n    alpha_two = 2\n\nthing = Thing()', 'x']);
  await notebook.run(0);
  await notebook.type(1, 'thing.al');
  await page.keyboard.press('Tab');
  const offer = page.locator('.jp-Completer .jp-Completer-item');
  await offer.first().waitFor();
  const names = (await offer.locator('.jp-Completer-match').allInnerTexts()).map(text => text.trim());
  assert.ok(names.includes('alpha_one') && names.includes('alpha_two'), `it offers ${names}`);
  await picture(page, 'completion');
  await offer.filter({ hasText: 'alpha_two' }).click();
  assert.equal((await notebook.editor(1).innerText()).trim(), 'thing.alpha_two');
  await notebook.run(1);
  await notebook.has(1, '2');
});

check('inspection', 'Shift+Tab shows the documentation of what the kernel holds', async page => {
  const notebook = await Notebook.open(page, ['def greet(name, loud=False):\n    """Greets a person by name."""', 'x']);
  await notebook.run(0);
  await notebook.type(1, 'greet');
  await page.keyboard.press('Shift+Tab');
  const tip = page.locator('.jp-Tooltip');
  await tip.waitFor();
  await until('the documentation', async () => /Greets a person by name/.test(await tip.innerText()));
  assert.match(await tip.innerText(), /loud=False/);
});

check('interrupt', 'the interrupt button ends an endless loop, and the variables stay', async page => {
  const notebook = await Notebook.open(page, ['kept = "kept"', 'print("looping")\nwhile True:\n    pass', 'print(kept)']);
  await notebook.run(0);
  await notebook.begin(1);
  await notebook.has(1, 'looping');
  await notebook.busy();
  const since = Date.now();
  await notebook.button('notebook:interrupt-kernel').click();
  await notebook.has(1, 'KeyboardInterrupt');
  assert.ok(Date.now() - since < 10_000, `it took ${Date.now() - since} ms`);
  await notebook.idle();
  await notebook.run(2);
  await notebook.has(2, 'kept');
});

check('restart', 'restart gives a fresh namespace and counts from one', async page => {
  const notebook = await Notebook.open(page, ['x = 1', 'x']);
  await notebook.run(0);
  await notebook.button('notebook:restart-kernel').click();
  await notebook.accept();
  await notebook.idle();
  await until('the prompts are as new', async () => /\[ \]|\[1\]/.test(await notebook.prompt(0).innerText()));
  await notebook.run(1, 60_000);
  await notebook.has(1, "name 'x' is not defined");
  assert.equal(await notebook.prompt(1).innerText(), '[1]:');
});

check('restart and run all', 'restart-and-run-all runs every cell once, from one on', async page => {
  const notebook = await Notebook.open(page, ['try:\n    count += 1\nexcept NameError:\n    count = 1\ncount', 'count + 100', 'print("the end of", count)']);
  await notebook.run(0);
  await notebook.run(0);
  await notebook.has(0, '2');
  await notebook.button('notebook:restart-run-all').click();
  await notebook.accept();
  await notebook.has(2, 'the end of 1', 60_000);
  await notebook.idle();
  assert.deepEqual(await Promise.all([0, 1, 2].map(at => notebook.prompt(at).innerText())), ['[1]:', '[2]:', '[3]:']);
  assert.match(await notebook.text(1), /101/);
});

check('shutdown', 'the running panel shuts a kernel down, and it is gone', async page => {
  const notebook = await Notebook.open(page, ['1 + 1']);
  await notebook.run(0);
  assert.equal((await kernels()).length, 1);
  await page.locator('.jp-SideBar [data-id="jp-running-sessions"]').click();
  // The notebook is listed below its kernel; the button is the kernel's, and shows itself under the mouse.
  const panel = page.locator('#jp-running-sessions');
  await panel.locator('.jp-RunningSessions-item', { hasText: 'notebook.ipynb' }).last().waitFor();
  const row = panel.locator('.jp-RunningSessions-item', { hasText: LAB_DISPLAY }).first();
  await row.locator('.jp-RunningSessions-itemLabel').first().hover();
  await picture(page, 'running');
  await row.locator('.jp-RunningSessions-itemShutdown').first().click();
  const since = Date.now();
  await until('the server has no kernel', async () => (await kernels()).length === 0);
  assert.ok(Date.now() - since < 10_000, `it took ${Date.now() - since} ms`);
  await page.locator('.jp-SideBar [data-id="jp-running-sessions"]').click();
});

check('two notebooks', 'two notebooks run at once and know nothing of each other', async (page, context) => {
  const one = await Notebook.open(page, ['mine = "one"', 'import time\nprint("waiting", flush=True)\nwhile True:\n    time.sleep(0.05)', 'mine']);
  const second = await context.newPage();
  try {
    const two = await Notebook.open(second, ['"mine" in globals()', 'mine = "two"', 'mine']);
    await page.bringToFront();
    await one.run(0);
    await one.begin(1);
    await one.has(1, 'waiting');
    await second.bringToFront();
    await two.run(0);
    await two.has(0, 'False');
    await two.run(1);
    await two.run(2);
    await two.has(2, "'two'");
    await page.bringToFront();
    await one.is('busy', 2_000);
    await one.button('notebook:interrupt-kernel').click();
    await one.has(1, 'KeyboardInterrupt');
    await one.run(2);
    await one.has(2, "'one'");
    assert.equal((await kernels()).length, 2);
  } finally {
    await second.close();
  }
});

check('reload', 'a page that is reloaded during a cell finds its kernel again, still at that cell, with its variables', async page => {
  const notebook = await Notebook.open(page, [
    'import time\nprint("begun", flush=True)\ntry:\n    while True:\n        time.sleep(0.05)\nexcept KeyboardInterrupt:\n    done = "it went on"', 'print(done)',
  ]);
  await notebook.begin(0);
  await notebook.has(0, 'begun');
  const [before] = await kernels();
  await page.locator('.lm-MenuBar-item', { hasText: 'File' }).click();
  await page.locator('.lm-Menu-item[data-command="docmanager:save"]').click();
  await page.reload();
  await notebook.cells.first().waitFor();
  await notebook.has(0, 'begun');
  // The page is not told that the kernel is busy; it is, as the interrupt below shows.
  await until('the page is connected', async () => (await kernels())[0].connections > 0)
    .catch(async problem => { throw new Error(`${problem.message}: ${JSON.stringify(await kernels())}`); });
  assert.deepEqual((await kernels()).map(one => one.id), [before.id]);
  await picture(page, 'reload');
  await notebook.button('notebook:interrupt-kernel').click();
  await notebook.idle();
  await notebook.run(1);
  await notebook.has(1, 'it went on');
});

check('widgets', 'an ipywidgets slider reaches the kernel, and the kernel reaches the slider', async page => {
  const notebook = await Notebook.open(page, [
    'import ipywidgets as widgets\nfrom IPython.display import display\nslider = widgets.IntSlider(value=7, min=0, max=20, description="size")\n'
      + 'label = widgets.Label("untouched")\nslider.observe(lambda change: setattr(label, "value", f"python saw {change.new}"), "value")\n'
      + 'display(slider, label)',
    'slider.value', 'slider.value = 15',
  ]);
  await notebook.run(0, 90_000);
  const slider = notebook.output(0).locator('.widget-slider');
  await slider.waitFor();
  const readout = slider.locator('.widget-readout');
  assert.equal(await readout.innerText(), '7');
  await slider.locator('.noUi-handle').focus();
  for (let step = 0; step < 3; step++) await page.keyboard.press('ArrowRight');
  await until('the label that Python sets', async () => (await notebook.output(0).locator('.widget-label').last().innerText()) === 'python saw 10');
  await notebook.run(1);
  await notebook.has(1, '10');
  await notebook.run(2);
  await until('the slider moves', async () => (await readout.innerText()) === '15');
  await until('the label follows', async () => (await notebook.output(0).locator('.widget-label').last().innerText()) === 'python saw 15');
  await picture(page, 'widgets');
});

check('debugger', 'a breakpoint stops the cell, its variables are shown, and it is stepped', async page => {
  const notebook = await Notebook.open(page, ['def double(number):\n    twice = number * 2\n    twice += 1\n    return twice\n\nprint(double(20))']);
  const bug = notebook.panel.locator('.jp-DebuggerBugButton button, .jp-DebuggerBugButton jp-button, button.jp-DebuggerBugButton').first();
  await until('the bug button can be used', () => bug.isEnabled());
  await bug.click();
  const sidebar = page.locator('#jp-debugger-sidebar');
  await sidebar.waitFor();
  const lines = notebook.cell(0).locator('.cm-breakpoint-gutter .cm-gutterElement');
  await lines.nth(2).waitFor();
  const box = await notebook.cell(0).locator('.cm-line').nth(1).boundingBox();
  const gutter = await notebook.cell(0).locator('.cm-breakpoint-gutter').boundingBox();
  await page.mouse.click(gutter.x + gutter.width / 2, box.y + box.height / 2);
  await until('the breakpoint is listed', async () => (await sidebar.locator('.jp-DebuggerBreakpoint').count()) === 1);
  await notebook.begin(0);
  const frames = sidebar.locator('.jp-DebuggerCallstackFrame');
  await frames.first().waitFor();
  assert.match(await frames.first().innerText(), /double/);
  const variables = sidebar.locator('.jp-DebuggerVariables');
  await until('the variable', async () => /number\D*20/.test(await variables.innerText()));
  assert.doesNotMatch(await variables.innerText(), /twice\D*40/);
  await picture(page, 'debugger');
  await sidebar.locator('[data-command="debugger:next"]').first().click();
  await until('a step sets the next one', async () => /twice\D*40/.test(await variables.innerText()));
  await sidebar.locator('[data-command="debugger:next"]').first().click();
  await until('and another', async () => /twice\D*41/.test(await variables.innerText()));
  await sidebar.locator('[data-command="debugger:continue"]').first().click();
  await notebook.has(0, '41');
  await notebook.idle();
});

check('display updates', 'clear_output, carriage returns and display updates leave the last state, and show those between', async page => {
  const notebook = await Notebook.open(page, [
    'import time\nfrom IPython.display import clear_output\nfor i in range(5):\n    clear_output(wait=True)\n    print("step", i)\n    time.sleep(0.3)',
    'import sys, time\nfor i in range(0, 101, 20):\n    print(f"\\r{i:3}% " + "#" * (i // 10), end="", file=sys.stderr, flush=True)\n    time.sleep(0.3)',
    'shown = display("at first", display_id=True)', 'shown.update("at last")',
  ]);
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => document.querySelectorAll('.jp-OutputArea-output').forEach(o => window.seen.add(o.innerText.trim())))
      .observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await notebook.run(0);
  await notebook.has(0, 'step 4');
  assert.equal((await notebook.text(0)).trim(), 'step 4');
  await notebook.run(1);
  await notebook.has(1, '100%');
  assert.equal((await notebook.text(1)).trim().replace(/\s+/g, ' '), '100% ##########');
  const seen = await page.evaluate(() => [...window.seen]);
  assert.ok(seen.includes('step 2'), `step 2 was not shown, but ${seen}`);
  assert.ok(seen.some(text => text.startsWith('40%')), `40% was not shown, but ${seen}`);
  await notebook.run(2);
  await notebook.has(2, 'at first');
  await notebook.run(3);
  await notebook.has(2, 'at last');
  assert.doesNotMatch(await notebook.text(2), /at first/);
});

check('kernel death', 'a kernel that dies is started again, and the page says so', async page => {
  const notebook = await Notebook.open(page, ['import os, signal\nos.kill(os.getpid(), signal.SIGKILL)', '"again"']);
  await notebook.begin(0);
  const dialog = page.locator('.jp-Dialog', { hasText: /died|Restarting/ });
  await dialog.waitFor();
  await picture(page, 'death');
  await dialog.locator('button').last().click();
  await notebook.idle(60_000);
  await notebook.run(1, 60_000);
  await notebook.has(1, "'again'");
});

// --- and how ------------------------------------------------------------------------------------------------------------

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
const results = [];
try {
  for (const { feature, name, run } of checks.filter(one => !LAB_ONLY || new RegExp(LAB_ONLY).test(`${one.feature}: ${one.name}`))) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await context.setExtraHTTPHeaders({ Authorization: `token ${LAB_TOKEN}` });
    await page.goto(`${LAB_URL}/login?token=${LAB_TOKEN}`).catch(() => undefined);
    const since = performance.now();
    let problem = null;
    try {
      await run(page, context);
    } catch (error) {
      problem = String(error?.message ?? error);
      mkdirSync(join(LAB_WORK, 'failures'), { recursive: true });
      await page.screenshot({ path: join(LAB_WORK, 'failures', `${feature.replace(/\W+/g, '-')}.png`) }).catch(() => undefined);
    }
    const seconds = Math.round((performance.now() - since) / 100) / 10;
    await page.goto('about:blank').catch(() => undefined);
    await context.close();
    for (const kernel of await kernels()) await api(`kernels/${kernel.id}`, { method: 'DELETE' });
    results.push({ feature, name, ok: problem === null, seconds, problem });
    console.log(`${problem === null ? 'PASS' : 'FAIL'} ${feature}: ${name} (${seconds} s)${problem === null ? '' : `\n     ${problem.replace(/\n/g, '\n     ')}`}`);
  }
} finally {
  await browser.close();
  const version = (await (await fetch(`${LAB_URL}/api`, { headers: { Authorization: `token ${LAB_TOKEN}` } })).json()).version;
  writeFileSync(LAB_RESULTS, JSON.stringify({ server: version, kernel: LAB_KERNEL, results }, null, 1));
}
const failed = results.filter(one => !one.ok).length;
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 && results.length > 0 ? 0 : 1;
