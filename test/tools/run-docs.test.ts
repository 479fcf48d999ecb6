/** How documents are read; that they are executed is shown by .ci/run. */
import * as assert from 'uvu/assert'
import { blocksOf, matches } from '../../tools/run-docs.ts'
import { suite } from '../support/suite.ts'

const test = suite('tools/run-docs')
const fence = '`'.repeat(3)

test('finds blocks with language, attribute, text and line', () => {
  const text = `# Title\n\n${fence}sh kafka\nls\npwd\n${fence}\n\n1. step:\n   ${fence}js\n   // a.js\n     x()\n   ${fence}\n${fence}\nplain\n${fence}\n`
  assert.equal(blocksOf(text), [
    { language: 'sh', attribute: 'kafka', text: 'ls\npwd', line: 3 },
    { language: 'js', attribute: undefined, text: '// a.js\n  x()', line: 9 },
    { language: '', attribute: undefined, text: 'plain', line: 13 },
  ])
  assert.throws(() => blocksOf(`# T\n${fence}sh\nls`), /line 2 is never closed/)
})

const outputs: [shown: string, printed: string, equal: boolean][] = [
  ['1n', '1n\n', true],
  ['1n', '2n', false],
  ['1n', '1n and more', false],
  ['counted … in … s', 'counted 5 clicks in 0.3 s', true],
  ['first\n…\nlast', 'first\nsecond\nthird\nlast\n', true],
  ['a.c', 'abc', false],
]
for (const [shown, printed, equal] of outputs) {
  test(`${JSON.stringify(shown)} ${equal ? 'shows' : 'does not show'} ${JSON.stringify(printed)}`, () => {
    assert.is(matches(shown, printed), equal)
  })
}

test.run()
