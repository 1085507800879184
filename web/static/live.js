// Live pages: each element with data-live has a stream of Server-Sent Events whose elements
// replace those of the page that have their ids, in place, so that focus and scroll stay.
// The signs among them are described in live.go.
'use strict';
const byId = id => document.getElementById(id);

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || (old.id || '') !== (fresh.id || '')) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  const ours = name => name === 'open' || name === 'tabindex' && old.closest('[data-arrows]') || name === 'viewBox' && old.dataset.slide;
  for (const a of [...old.attributes]) if (!ours(a.name) && !fresh.hasAttribute(a.name)) old.removeAttribute(a.name);
  for (const a of fresh.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
  const was = [...old.childNodes], now = [...fresh.childNodes];
  now.forEach((n, i) => was[i] ? morph(was[i], n) : old.append(n));
  was.slice(now.length).forEach(n => n.remove());
}

function add(element, place) {
  const box = byId(place.into), after = place.after && byId(place.after);
  if (!box) return;
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  if ('last' in place) box.append(element);
  else if (after) after.after(element);
  else box.prepend(element);
  const most = Number(box.dataset.most);
  while (most && box.childElementCount > most) ('last' in place ? box.firstElementChild : box.lastElementChild).remove();
  if ('last' in place && atEnd) box.scrollTop = box.scrollHeight;
}

function apply(html) {
  const t = document.createElement('template');
  t.innerHTML = html;
  let place = null;
  for (const element of [...t.content.children]) {
    const sign = element.dataset, old = element.id && byId(element.id);
    if (sign.gone) byId(sign.gone)?.remove();
    else if (sign.only) {
      const ids = new Set(sign.ids.split(' '));
      for (const e of [...byId(sign.only)?.children ?? []]) if (!ids.has(e.id)) e.remove();
    } else if (sign.into) place = sign;
    else if (old) morph(old, element);
    else if (place) add(element, place);
  }
  slide();
}

function follow(element) {
  let source, last = '', over = false;
  const lamp = text => { const l = byId('lamp'); if (l) { l.textContent = text; l.dataset.state = text; } };
  function open() {
    if (source || over) return;
    source = new EventSource(element.dataset.live + (last ? (element.dataset.live.includes('?') ? '&' : '?') + 'after=' + last : ''));
    source.onopen = () => lamp('live');
    source.onmessage = e => { last = e.lastEventId; apply(e.data); };
    source.onerror = () => { lamp('reconnecting'); if (source?.readyState === EventSource.CLOSED) retry(); };
    source.addEventListener('problem', e => { byId('lamp').title = e.data; });
    source.addEventListener('done', () => { end(); if (element.dataset.done === 'reload') location.reload(); });
    source.addEventListener('over', () => { end(); lamp('signed out'); location.reload(); });
  }
  async function retry() {
    close();
    const answer = await fetch('/api/v1/events?limit=1').catch(() => null);
    if (answer?.status === 401) location.reload(); else setTimeout(open, 3000);
  }
  function close() { source?.close(); source = null; }
  function end() { over = true; close(); }
  document.addEventListener('visibilitychange', () => document.hidden ? close() : open());
  document.addEventListener('submit', e => { if (e.target.matches('form.who')) end(); }); // who signs out is let go of, not turned away
  if (!document.hidden) open();
}

// What happened over time is drawn where it stays, and its window moves on: data-slide is the Unix time of x = 0, and how wide it is.
const lanes = document.querySelector('[data-now]'), ahead = lanes ? Number(lanes.dataset.now) - Date.now() : 0;
function slide() {
  const now = (Date.now() + ahead) / 1000;
  for (const svg of document.querySelectorAll('svg[data-slide]')) {
    const [base, width] = svg.dataset.slide.split(' ').map(Number);
    svg.setAttribute('viewBox', `${(now - width - base).toFixed(1)} 0 ${width} 100`);
  }
}

// A grid of links is one stop for Tab; arrows go from cell to cell.
function arrows(grid) {
  const cells = () => [...grid.querySelectorAll('a')];
  cells().forEach((a, i) => a.tabIndex = i ? -1 : 0);
  grid.addEventListener('keydown', e => {
    const all = cells(), at = all.indexOf(document.activeElement);
    const across = all.findIndex((a, i) => i && a.offsetTop !== all[0].offsetTop);
    const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: all.length - 1 - at}[e.key];
    if (at < 0 || !step || !all[at + step]) return;
    e.preventDefault();
    all[at].tabIndex = -1;
    all[at + step].tabIndex = 0;
    all[at + step].focus();
  });
}

document.querySelectorAll('[data-live]').forEach(follow);
document.querySelectorAll('[data-arrows]').forEach(arrows);
if (document.querySelector('svg[data-slide]') || document.getElementById('timeline-rows')?.closest('[data-live]')) setInterval(slide, 1000);
const go = document.querySelector('a[data-go]');
if (go) location.replace(go.href);
