/**
 * What the example shows over HTTP, on 127.0.0.1 only:
 *   GET /        a page with the ten counters, moving      GET /live     the same as server-sent events
 *   GET /user-3  {"Clicks":153}
 * It knows the table only through `counts`. Owns the server and the connections of its live readers.
 */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What the page reads; a view of the group's table is one. */
export interface Counts {
  readonly users: readonly string[]
  get(user: string): number | undefined
}

export interface Page {
  readonly url: string
  close(): Promise<void>
}

const refreshMs = 200

/** Resolves when the page can be fetched; rejects when the port is taken. */
export async function servePage(counts: Counts, port: number): Promise<Page> {
  const readers = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    const path = decode(new URL(request.url ?? '/', 'http://localhost').pathname)
    if (request.method !== 'GET') answer(response, 405, 'text/plain; charset=utf-8', 'GET only\n')
    else if (path === '/') answer(response, 200, 'text/html; charset=utf-8', html)
    else if (path === '/live') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.write(event(counts))
      readers.add(response)
      response.on('close', () => readers.delete(response))
    } else {
      const clicks = path === undefined ? undefined : counts.get(path.slice(1))
      const body = clicks === undefined ? { error: 'no clicks yet' } : { Clicks: clicks }
      answer(response, clicks === undefined ? 404 : 200, 'application/json', `${JSON.stringify(body)}\n`)
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const timer = setInterval(() => {
    if (readers.size === 0) return
    const text = event(counts)
    // A reader that does not keep up misses states, not memory: each event is the whole state.
    for (const reader of readers) if (reader.writableLength < 65_536) reader.write(text)
  }, refreshMs)
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    close: () => {
      clearInterval(timer)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      return closed
    },
  }
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'content-security-policy':
      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'",
  })
  response.end(body)
}

/** Undefined for what is no valid percent-encoding. */
function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

function event(counts: Counts): string {
  return `data: ${JSON.stringify(counts.users.map((user) => [user, counts.get(user) ?? 0]))}\n\n`
}

/** The names and numbers arrive as JSON and are set as text: nothing of a key is ever parsed as HTML. */
const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>millrace: clicks</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #1c2733; }
  h1 { font-size: 1.3rem; margin: 0 } p { color: #5b6875; margin: .2rem 0 1.5rem }
  li { display: grid; grid-template-columns: 5rem 1fr 6rem; gap: 1rem; align-items: center; margin: .35rem 0 }
  ol { list-style: none; padding: 0 } a { color: inherit }
  meter { width: 100%; height: 1.1rem } output { text-align: right; font-variant-numeric: tabular-nums }
</style>
<h1>Clicks per user</h1>
<p id="state">connecting …</p>
<ol id="users"></ol>
<script>
  const list = document.getElementById('users'), state = document.getElementById('state'), rows = new Map()
  function row(user) {
    const item = document.createElement('li'), link = document.createElement('a')
    const meter = document.createElement('meter'), output = document.createElement('output')
    link.textContent = user
    link.href = '/' + encodeURIComponent(user)
    item.append(link, meter, output)
    list.append(item)
    return { meter, output }
  }
  const live = new EventSource('/live')
  live.onmessage = ({ data }) => {
    const counts = JSON.parse(data), most = Math.max(1, ...counts.map(([, clicks]) => clicks))
    let sum = 0
    for (const [user, clicks] of counts) {
      if (!rows.has(user)) rows.set(user, row(user))
      const { meter, output } = rows.get(user)
      meter.max = most
      meter.value = clicks
      output.textContent = clicks.toLocaleString('en')
      sum += clicks
    }
    state.textContent = sum.toLocaleString('en') + ' clicks counted; this is the group table, read through a view'
  }
  live.onerror = () => { state.textContent = 'the program has ended; the page goes on when it is back' }
</script>
</html>
`
