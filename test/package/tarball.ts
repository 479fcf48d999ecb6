/** The package as a user gets it: packed, and installed into an empty folder. Used by the package test and tools/run-docs. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** The repository this file was built in: `.build/test/package` → three up. */
export const repository = join(import.meta.dirname, '..', '..', '..')

/** npm tells its children about itself in variables that would change what a nested npm does. */
export function cleanEnv(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(registry|cache|userconfig)$)/i.test(name),
  )
  return { ...Object.fromEntries(own), NO_COLOR: '1', FORCE_COLOR: '0', ...extra }
}

/** Runs a program and resolves with its standard output; rejects with everything it said. */
export async function exec(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  try {
    const { stdout } = await run(command, args, { cwd, env: cleanEnv(env), maxBuffer: 64 * 1024 * 1024 })
    return stdout
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }
    throw new Error(`${command} ${args.join(' ')} failed in ${cwd}: ${(cause as Error).message}\n${stdout}${stderr}`)
  }
}

export interface Installed {
  /** An ESM project whose only dependency is the packed millrace. */
  readonly dir: string
  /** Paths inside the tarball. */
  readonly files: readonly string[]
  /** Bytes of the tarball. */
  readonly packedBytes: number
  remove(): void
}

/** Packs the built repository and installs it, without network, into an empty folder. */
export async function installTarball(): Promise<Installed> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-package-'))
  const remove = (): void => rmSync(root, { recursive: true, force: true })
  try {
    const packed = await exec('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', root], repository)
    const [tarball] = Object.values(
      JSON.parse(packed) as Record<string, { filename: string; size: number; files: { path: string }[] }>,
    )
    if (tarball === undefined) throw new Error(`npm pack said: ${packed}`)
    const dir = join(root, 'app')
    mkdirSync(dir)
    writeFileSync(join(dir, 'package.json'), '{ "name": "app", "private": true, "type": "module" }\n')
    await exec('npm', ['install', '--offline', '--no-audit', '--no-fund', join(root, tarball.filename)], dir)
    return { dir, files: tarball.files.map((file) => file.path), packedBytes: tarball.size, remove }
  } catch (cause) {
    remove()
    throw cause
  }
}

/** Lets the folder compile: the repository's compiler and Node types, linked beside the package. */
export function linkCompiler(dir: string): void {
  for (const name of ['typescript', '@types', 'undici-types']) {
    symlinkSync(join(repository, 'node_modules', name), join(dir, 'node_modules', name))
  }
  mkdirSync(join(dir, 'node_modules', '.bin'), { recursive: true })
  symlinkSync(join(repository, 'node_modules', 'typescript', 'bin', 'tsc'), join(dir, 'node_modules', '.bin', 'tsc'))
}

/** Type-checks the folder's `*.ts` as a strict user would, the package's own declarations included. Rejects with the errors. */
export async function typeCheck(dir: string, options: Record<string, unknown> = {}): Promise<void> {
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2022'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    ...options,
  }
  writeFileSync(join(dir, 'tsconfig.check.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
  await exec(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.check.json'], dir)
}
