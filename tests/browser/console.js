// One browser, one walk through the console. Reads a plan as JSON on standard input:
// { approve, deny, german, foreign, list, pictures } (links and addresses, and a folder), and writes
// a report as JSON on standard output: what was seen, for the test to judge.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { chromium } = require('playwright-core');
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const PATIENCE = 30_000;

const report = { barriers: [], complaints: [], pages: {} };

async function look(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }), RULES);
  for (const violation of found.violations) {
    const nodes = violation.nodes.map((node) => `${node.html} ${node.failureSummary}`);
    report.barriers.push({ page: name, rule: violation.id, help: violation.help, nodes });
  }
  report.pages[name] = await page.evaluate(() => ({
    title: document.title,
    lang: document.documentElement.lang,
    heading: document.querySelector('h1')?.textContent ?? '',
    said: [...document.querySelectorAll('[role=status], [role=alert]')].map((one) => one.innerText),
    text: document.querySelector('main').innerText,
    scripts: document.scripts.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
  }));
  report.pages[name].url = page.url();
  report.pages[name].rules = found.passes.length;
}

async function context(browser, options) {
  const made = await browser.newContext({ reducedMotion: 'reduce', ...options });
  made.setDefaultTimeout(PATIENCE);
  const page = await made.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      report.complaints.push(`${page.url()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => report.complaints.push(String(error)));
  return { made, page };
}

async function open(page, url) {
  const answer = await page.goto(url);
  return { status: answer.status(), headers: answer.headers() };
}

// What the Tab key reaches, in order, until it has gone round.
async function reached(page) {
  const names = [];
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press('Tab');
    const name = await page.evaluate(() => {
      const one = document.activeElement;
      if (!one || one === document.body) return null;
      const style = getComputedStyle(one);
      const seen = style.outlineStyle !== 'none' && style.outlineWidth !== '0px';
      return `${one.id || one.name || one.className || one.textContent.trim()}${seen ? '' : ' (not seen)'}`;
    });
    if (name === null || names.includes(name) && step > 30) break;
    names.push(name);
  }
  return names;
}

async function picture(page, plan, name, options) {
  await page.screenshot({ path: path.join(plan.pictures, name), fullPage: true, ...options });
}

// On a desk, in the light: look, approve by the mouse, look again, use the link once more, deny
// another one by the keyboard.
async function atADesk(browser, plan) {
  const { made, page } = await context(browser, {
    viewport: { width: 760, height: 1000 }, locale: 'en-GB', colorScheme: 'light',
  });
  report.approve = await open(page, plan.approve);
  await look(page, 'request');
  // Up to the buttons, so that the file stays small.
  await picture(page, plan, 'console.png', { clip: { x: 0, y: 0, width: 760, height: 1240 } });
  report.tabbed = await reached(page);
  // Looking again changes nothing and spends nothing.
  report.again = await open(page, plan.approve);
  report.cookiesOfLooking = await made.cookies();
  await page.locator('button.approve').click();
  await page.waitForURL((url) => url.searchParams.has('done'));
  await look(page, 'approved');
  report.cookies = await made.cookies();
  report.reused = await open(page, plan.approve);
  await look(page, 'reused with a session');

  await open(page, plan.list);
  await look(page, 'list');
  await page.locator('.entries a', { hasText: 'siemens' }).click();
  await page.waitForURL((url) => url.pathname.endsWith('/permissions'));
  await page.locator('#deny-note').focus();
  await page.keyboard.type('Not before the <b>audit</b> & "its" end');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.searchParams.get('done') === 'denied');
  await look(page, 'denied');

  await page.locator('button[value=leave]').click();
  await page.waitForURL((url) => url.pathname.endsWith('/requests'));
  await look(page, 'left');
  report.afterLeaving = await open(page, plan.list);
  await made.close();
}

// On a phone, in a dark room, in German.
async function onAPhone(browser, plan) {
  const { made, page } = await context(browser, {
    viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true,
    locale: 'de-AT', colorScheme: 'dark',
  });
  report.german = await open(page, plan.german);
  await look(page, 'phone');
  await picture(page, plan, 'console-phone.png', {
    fullPage: false, clip: { x: 0, y: 0, width: 360, height: 740 },
  });
  await page.locator('#decide').scrollIntoViewIfNeeded();
  await page.locator('footer a[lang=en]').tap();
  await page.waitForURL((url) => url.searchParams.get('lang') === 'en');
  await look(page, 'phone in English');
  await made.close();
}

// Somebody else: with a link that was used, with none, with a forged one.
async function asAStranger(browser, plan) {
  const { made, page } = await context(browser, { locale: 'en-GB', colorScheme: 'dark' });
  for (const [name, url] of [['used', plan.approve], ['foreign', plan.foreign], ['none', plan.list]]) {
    const { status } = await open(page, url);
    await look(page, name);
    report.pages[name].status = status;
  }
  // The control: barriers that are put up are found.
  await page.evaluate(() => {
    document.querySelector('main').innerHTML += '<input><p><font color="#222">dim</font></p>';
  });
  const found = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }), RULES);
  report.control = found.violations.map((violation) => violation.id);
  await made.close();
}

async function main() {
  const plan = JSON.parse(fs.readFileSync(0, 'utf8'));
  const browser = await chromium.launch({
    executablePath: process.argv[2],
    args: ['--disable-dev-shm-usage', '--disable-gpu', '--font-render-hinting=none'],
  });
  try {
    await atADesk(browser, plan);
    await onAPhone(browser, plan);
    await asAStranger(browser, plan);
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify(report, null, 1));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
