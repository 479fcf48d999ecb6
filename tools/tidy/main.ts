/**
 * tidy: the conventions of ARCHITECTURE.md as a program. Reads the repository, prints `path:line message` per finding,
 * exits 1 when there is one. Usage: node .build/tools/tidy/main.js   (after npm run build: it reads dist/*.d.ts)
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkDocument, checkEntry } from './check-docs.ts'
import { checkSources, checkWords, type Finding } from './check-source.ts'

const ignored = /^(node_modules|dist|coverage|\.git|\.build.*|results)$/
/** Text that is neither TypeScript nor a document but ships or is read by people. */
const otherText = /\.(json|ya?ml|sh|svg|html|java|go|rs|py|mjs|css)$|^(run|\.npmrc|\.editorconfig|\.gitignore)$/

function filesUnder(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    if (ignored.test(entry.name)) return []
    const path = join(dir, entry.name)
    return entry.isDirectory() ? filesUnder(path) : [path]
  })
}

/** Everything tidy has to say about the repository at `root`. */
export function tidy(root: string): Finding[] {
  const findings: Finding[] = []
  const read = (path: string): string => readFileSync(join(root, path), 'utf8')
  const paths = filesUnder(root).map((path) => relative(root, path).replaceAll('\\', '/'))
  findings.push(
    ...checkSources(paths.filter((path) => path.endsWith('.ts')).map((path) => ({ path, text: read(path) }))),
  )
  for (const path of paths) {
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (path.endsWith('.md')) {
      findings.push(...checkDocument({ path, text: read(path) }, (to) => existsSync(join(root, to)), read))
    } else if (otherText.test(name) && name !== 'package-lock.json') {
      checkWords({ path, text: read(path) }, (line, message) => void findings.push({ path, line, message }))
    }
  }
  const { exports, dependencies } = JSON.parse(read('package.json')) as {
    exports: Record<string, string | { types: string }>
    dependencies?: Record<string, string>
  }
  for (const name of Object.keys(dependencies ?? {})) {
    findings.push({ path: 'package.json', line: 1, message: `${name} is a runtime dependency; millrace has none` })
  }
  const seen = new Set<string>()
  for (const entry of Object.values(exports)) {
    if (typeof entry === 'string') continue
    const readDeclaration = (path: string): string | undefined =>
      existsSync(join(root, path)) ? read(path) : undefined
    findings.push(...checkEntry(entry.types.replace(/^\.\//, ''), readDeclaration, seen))
  }
  return findings
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const findings = tidy(join(import.meta.dirname, '..', '..', '..'))
  for (const { path, line, message } of findings) console.error(`${path}:${line} ${message}`)
  console.log(findings.length === 0 ? 'tidy: nothing to say' : `tidy: ${findings.length} findings`)
  process.exitCode = findings.length === 0 ? 0 : 1
}
