/**
 * Executes documents: what a reader is told to type is typed, in an empty folder with the packed tarball, from top to bottom.
 * Usage: node .build/tools/run-docs.js [document…]    default: README.md and docs/getting-started.md
 *
 *   ```js or ```ts whose first line is `// name.js`   is saved under that name (and type-checked as TypeScript)
 *   ```sh                                             each line is run by sh, but for what the folder already has (prepared)
 *   ```sh kafka                                       run only when KAFKA_BROKERS is set, which then stands for localhost:9092
 *   ```sh clone                                       about the repository itself; the other tests run these
 *   ```text behind a ```sh                            must equal its output; `…` stands for anything
 * Any other block is prose. Prints one closing line `N passed, N failed`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { exec, installTarball, linkCompiler, repository, typeCheck } from '../test/package/tarball.ts'

export interface Block {
  readonly language: string
  readonly attribute: string | undefined
  readonly text: string
  readonly line: number
}

/** The fenced blocks of a document. */
export function blocksOf(document: string): Block[] {
  const blocks: Block[] = []
  let open: { language: string; attribute: string | undefined; line: number; indent: number } | undefined
  let body: string[] = []
  document.split('\n').forEach((line, index) => {
    const fence = /^( *)```(\w*) *(\w*)/.exec(line)
    if (fence !== null && open === undefined) {
      open = { language: fence[2]!, attribute: fence[3] || undefined, line: index + 1, indent: fence[1]!.length }
      body = []
    } else if (fence !== null && open !== undefined) {
      const { indent, ...block } = open
      blocks.push({ ...block, text: body.map((text) => text.slice(indent)).join('\n') })
      open = undefined
    } else if (open !== undefined) body.push(line)
  })
  if (open !== undefined) throw new Error(`the block of line ${open.line} is never closed`)
  return blocks
}

/** Whether `output` is what the document shows; `…` matches anything, even lines. */
export function matches(shown: string, output: string): boolean {
  const pattern = shown
    .trim()
    .split('…')
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[\\s\\S]*')
  return new RegExp(`^${pattern}$`).test(output.trim())
}

async function runDocument(name: string): Promise<{ passed: number; failed: number }> {
  const count = { passed: 0, failed: 0 }
  const installed = await installTarball()
  try {
    linkCompiler(installed.dir)
    let output: string | undefined
    for (const block of blocksOf(readFileSync(join(repository, name), 'utf8'))) {
      const expectsOutput = block.language === 'text'
      try {
        if (expectsOutput && output !== undefined) {
          if (!matches(block.text, output))
            throw new Error(`shown:\n${block.text}\nbut the command printed:\n${output}`)
        } else if (block.language === 'js' || block.language === 'ts') {
          if (!(await save(block, installed.dir))) continue
        } else if (block.language === 'sh') {
          const reason = skipReason(block)
          output = reason === undefined ? await shell(block, installed.dir) : undefined
          if (reason !== undefined) {
            console.log(`skipped: ${name}:${block.line}: ${reason}`)
            continue
          }
        } else continue
        count.passed += 1
      } catch (cause) {
        console.log(`FAIL ${name}:${block.line}: ${(cause as Error).message}`)
        count.failed += 1
        output = undefined
      }
      if (expectsOutput) output = undefined
    }
  } finally {
    installed.remove()
  }
  console.log(`${count.failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${count.passed} blocks`)
  return count
}

/** False for a block that names no file: an excerpt. */
async function save(block: Block, dir: string): Promise<boolean> {
  const name = /^\/\/ ([\w-]+)\.(js|ts)$/m.exec(block.text.split('\n')[0]!)
  if (name === null) return false
  writeFileSync(join(dir, `${name[1]}.${name[2]}`), `${block.text}\n`)
  if (name[2] === 'js') writeFileSync(join(dir, `${name[1]}.check.ts`), `${block.text}\n`)
  await typeCheck(dir, { noEmit: true })
  return true
}

function skipReason(block: Block): string | undefined {
  if (block.attribute === 'kafka' && !process.env['KAFKA_BROKERS']) return 'needs KAFKA_BROKERS'
  return block.attribute === 'clone' ? 'about the clone, which other tests run' : undefined
}

/** What a reader types and the folder already has. */
const prepared = /^(mkdir |cd |npm (init|pkg|install) )/

async function shell(block: Block, dir: string): Promise<string> {
  const brokers = block.attribute === 'kafka' ? process.env['KAFKA_BROKERS'] : undefined
  const commands = block.text.split('\n').filter((line) => line.trim() !== '' && !prepared.test(line.trim()))
  if (commands.length === 0) return ''
  const typed = commands.join('\n').replaceAll('localhost:9092', brokers ?? 'localhost:9092')
  return exec('sh', ['-euc', typed], dir, { KAFKA_BROKERS: brokers })
}

async function main(names: readonly string[]): Promise<void> {
  let passed = 0
  let failed = 0
  for (const name of names) {
    const count = await runDocument(name)
    passed += count.passed
    failed += count.failed
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const named = process.argv.slice(2)
  await main(named.length > 0 ? named : ['README.md', 'docs/getting-started.md'])
}
