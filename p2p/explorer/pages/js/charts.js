// Charts as SVG. Law: each has a sentence that says what it shows, and colours that differ in lightness too.
import { h } from './dom.js'

/** As wide as a panel has room for now, so that words keep their size. */
function room () {
  return Math.min(Math.max((document.getElementById('content')?.clientWidth ?? 640) - 74, 240), 1160)
}

/** A step line over time. points: [{x, y}], ascending. */
export function steps (points, { label, width = room(), height = 140, format = String }) {
  if (points.length === 0) return null
  const pad = { left: 56, right: 8, top: 10, bottom: 20 }
  const [low, high] = [points[0].x, Math.max(points.at(-1).x, points[0].x + 1)]
  const top = Math.max(...points.map(p => p.y)) || 1
  const bottom = Math.min(...points.map(p => p.y), top)
  const floor = bottom === top ? 0 : bottom - (top - bottom) * 0.15
  const x = value => pad.left + (value - low) / (high - low) * (width - pad.left - pad.right)
  const y = value => height - pad.bottom - (value - floor) / (top - floor) * (height - pad.top - pad.bottom)
  const ticks = new Map([top, bottom].map(value => [format(value), value])) // two that read alike are one
  let path = `M${x(points[0].x)},${y(points[0].y)}`
  for (const point of points.slice(1)) path += `H${x(point.x).toFixed(1)}V${y(point.y).toFixed(1)}`
  path += `H${width - pad.right}`
  return h('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    h('title', {}, label),
    [...ticks].map(([name, value]) => [
      h('line', { class: 'grid', x1: pad.left, x2: width - pad.right, y1: y(value), y2: y(value) }),
      h('text', { class: 'axis', x: pad.left - 6, y: y(value) + 4, 'text-anchor': 'end' }, name)]),
    h('text', { class: 'axis', x: pad.left, y: height - 5 }, points[0].name ?? ''),
    h('text', { class: 'axis', x: width - pad.right, y: height - 5, 'text-anchor': 'end' }, points.at(-1).name ?? ''),
    h('path', { class: 'line', d: path }))
}

/** Upright bars. items: [{value, title, tone}]. first, last: names of the outermost two. */
export function bars (items, { label, width = room(), height = 110, unit = '', least = 1, first = '', last = '' }) {
  const pad = { left: 36, right: 2, top: 8, bottom: 20 }
  const most = Math.max(...items.map(item => item.value), least)
  const top = items.every(item => Number.isInteger(item.value)) ? 2 * Math.ceil(most / 2) : most // so that its half is whole
  const step = (width - pad.left - pad.right) / Math.max(items.length, 12)
  const y = value => height - pad.bottom - value / top * (height - pad.top - pad.bottom)
  return h('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    h('title', {}, label),
    [top, top / 2].map(value => [
      h('line', { class: 'grid', x1: pad.left, x2: width, y1: y(value), y2: y(value) }),
      h('text', { class: 'axis', x: pad.left - 5, y: y(value) + 4, 'text-anchor': 'end' },
        `${Number(value.toPrecision(2))}${unit}`)]),
    h('text', { class: 'axis', x: pad.left, y: height - 5 }, first),
    items.length > 1 && h('text', { class: 'axis', x: Math.max(pad.left + items.length * step, 200), y: height - 5, 'text-anchor': 'end' }, last),
    items.map((item, at) => h('rect', {
      class: ['bar', item.tone], x: (pad.left + at * step + 0.5).toFixed(2), width: Math.max(step - 1, 0.6).toFixed(2),
      y: y(Math.max(item.value, 0)).toFixed(2), height: Math.max(height - pad.bottom - y(Math.max(item.value, 0)), 1).toFixed(2)
    }, h('title', {}, item.title))))
}

/** One bar of parts. parts: [{value, name, tone}]. */
export function split (parts, label) {
  const total = parts.reduce((sum, part) => sum + part.value, 0)
  if (!total) return null
  let at = 0
  return h('svg', { class: 'chart split', viewBox: '0 0 640 14', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('title', {}, label),
    parts.filter(part => part.value > 0).map(part => {
      const rect = h('rect', { class: ['bar', part.tone], x: at, y: 0, width: 640 * part.value / total, height: 14 },
        h('title', {}, part.name))
      at += 640 * part.value / total
      return rect
    }))
}

/** A small bar for a share, in a table. */
export function meter (part, of, label) {
  return h('svg', { class: 'meter', viewBox: '0 0 60 6', role: 'img', 'aria-label': label },
    h('rect', { class: 'track', x: 0, y: 0, width: 60, height: 6, rx: 3 }),
    of > 0 && h('rect', { class: 'bar', x: 0, y: 0, width: 60 * Math.min(part / of, 1), height: 6, rx: 3 }))
}
