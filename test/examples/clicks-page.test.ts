/** The page and the command line of the click example, without a broker. */
import { Script } from 'node:vm'
import * as assert from 'uvu/assert'
import { parseArguments } from '../../examples/clicks/arguments.ts'
import { type Page, servePage } from '../../examples/clicks/page.ts'
import { rejects, suite } from '../support/suite.ts'

const test = suite('examples/clicks')
const counts = new Map<string, number>([
  ['user-0', 0],
  ['user-3', 153],
  ['<img src=x>', 1],
])

async function withPage(body: (page: Page) => Promise<void>): Promise<void> {
  const page = await servePage({ users: [...counts.keys()], get: (user) => counts.get(user) }, 0)
  try {
    await body(page)
  } finally {
    await page.close()
  }
}

const answers: [path: string, status: number, body: string][] = [
  ['user-3', 200, '{"Clicks":153}\n'],
  ['user-0', 200, '{"Clicks":0}\n'],
  ['%3Cimg%20src=x%3E', 200, '{"Clicks":1}\n'],
  ['user-4', 404, '{"error":"no clicks yet"}\n'],
  ['__proto__', 404, '{"error":"no clicks yet"}\n'],
  ['%E0%A4%A', 404, '{"error":"no clicks yet"}\n'],
]
for (const [path, status, body] of answers) {
  test(`GET /${path} → ${status}`, () =>
    withPage(async ({ url }) => {
      const response = await fetch(url + path)
      assert.is(response.status, status)
      assert.is(await response.text(), body)
    }))
}

test('the page holds no key, and the live stream sends them as JSON', () =>
  withPage(async ({ url }) => {
    const html = await (await fetch(url)).text()
    assert.match(html, /<h1>Clicks per user/)
    assert.not.match(html, 'user-3')
    new Script(/<script>([\s\S]*)<\/script>/.exec(html)![1]!) // parses
    const response = await fetch(`${url}live`)
    const reader = response.body!.getReader()
    const { value } = await reader.read()
    assert.is(Buffer.from(value!).toString(), 'data: [["user-0",0],["user-3",153],["<img src=x>",1]]\n\n')
  }))

test('is bound to 127.0.0.1, says when the port is taken, and closes with readers connected', () =>
  withPage(async ({ url }) => {
    const { port } = new URL(url)
    await fetch(`${url}live`)
    await rejects(servePage({ users: [], get: () => undefined }, Number(port)), 'EADDRINUSE')
    await rejects(fetch(`http://127.0.0.2:${port}/`))
  }))

test('arguments', () => {
  const defaults = { clicks: undefined, rate: 50, port: 9095, state: undefined }
  assert.equal(parseArguments([]), defaults)
  const many = { ...defaults, clicks: 10_000, rate: Number.POSITIVE_INFINITY }
  assert.equal(parseArguments(['--clicks', '10000']), many)
  const few = { clicks: 5, rate: 3, port: 0, state: 'here' }
  assert.equal(parseArguments(['--clicks=5', '--rate', '3', '--port=0', '--state', 'here']), few)
  for (const wrong of [
    ['--clicks', '0'],
    ['--clicks', 'many'],
    ['--rate', '1.5'],
    ['--port', '65536'],
    ['--port', ''],
  ]) {
    assert.throws(() => parseArguments(wrong), /must be a whole number/)
  }
  assert.throws(() => parseArguments(['--state', '']), /--state must name a directory/)
  assert.throws(() => parseArguments(['--click', '5']), /--click/)
})

test.run()
