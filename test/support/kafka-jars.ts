/**
 * The jars of an Apache Kafka release, fetched once by Maven into a cache outside the clone (MILLRACE_CACHE, by default
 * ~/.cache/millrace): the broker of the system tests and the message definitions of the conformance tests.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** The lines we test on and the release that stands for each: the last of 3.x, the newest complete 4.x. */
export const kafkaReleases = { '3.9': '3.9.2', '4.3': '4.3.1' } as const
export type KafkaLine = keyof typeof kafkaReleases

/** `3.9` → `3.9.2`; a full version stays. */
export function kafkaRelease(version: string): string {
  return Object.hasOwn(kafkaReleases, version) ? kafkaReleases[version as KafkaLine] : version
}

/** Where downloads are kept between runs. */
export function cacheDir(): string {
  return process.env['MILLRACE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace')
}

const pom = (version: string): string => `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>millrace</groupId><artifactId>kafka-under-test</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${version}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies>
</project>
`

/**
 * Directory that holds all jars of `version` (`3.9`, `4.3` or a full version); give `<dir>/*` to java as class path.
 * The first call per machine downloads about 100 MB. Rejects with what to install when Maven is missing.
 */
export async function kafkaJars(version: string): Promise<string> {
  const release = kafkaRelease(version)
  const jars = join(cacheDir(), `kafka-${release}`)
  if (existsSync(jars)) return jars
  mkdirSync(cacheDir(), { recursive: true })
  const work = mkdtempSync(join(cacheDir(), `fetching-${release}-`))
  try {
    writeFileSync(join(work, 'pom.xml'), pom(release))
    await maven(['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=lib'], work)
    for (const name of readdirSync(join(work, 'lib'))) {
      // One SLF4J binding, the simple one, so that a broker that cannot start says why.
      if (/^(slf4j-(reload4j|log4j)|log4j-slf4j|logback-)/.test(name)) rmSync(join(work, 'lib', name))
    }
    try {
      renameSync(join(work, 'lib'), jars)
    } catch (cause) {
      if (!existsSync(jars)) throw cause // another process was faster
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return jars
}

function maven(args: readonly string[], cwd: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('mvn', args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('error', (cause) => reject(new Error(`cannot run mvn (install Maven and a JDK 17): ${cause.message}`)))
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`mvn ${args.join(' ')} ended with ${code}:\n${output.slice(-4_000)}`)),
    )
  })
}
