/**
 * A real Apache Kafka for tests: KRaft nodes on free ports of 127.0.0.1, started, killed, restarted and stopped by pid.
 * Owns the JVM processes and their data directory; both end with `close()`, and with this process at the latest.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, closeSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { kafkaJars, kafkaRelease } from './kafka-jars.ts'

export interface KafkaOptions {
  /** Brokers, each also a controller. Default 1. */
  readonly nodes?: number
  /** Further lines of server.properties, or others' values. */
  readonly config?: Readonly<Record<string, string>>
  /** Options of each JVM. Default: a small heap and a quick start; a benchmark gives its own. */
  readonly jvm?: readonly string[]
}

/** How long a node may take to answer, milliseconds: a busy two-core machine needs more than the usual 2 s. */
const startDeadlineMs = 90_000
const quickJvm = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']

interface Node {
  readonly id: number
  readonly port: number
  readonly controllerPort: number
  readonly dir: string
  guard?: ChildProcess
  pid?: number
  ended?: Promise<void>
}

export class Kafka {
  /** Full version, `4.3.1`. */
  readonly version: string
  /** Bootstrap list. */
  readonly brokers: string
  readonly #nodes: readonly Node[]
  /** Where the nodes keep their data until `close()`. */
  readonly dataDir: string
  readonly #jars: string
  readonly #jvm: readonly string[]
  readonly #onExit = (): void => this.#abandon()

  private constructor(version: string, nodes: readonly Node[], dir: string, jars: string, jvm: readonly string[]) {
    this.version = version
    this.#nodes = nodes
    this.dataDir = dir
    this.#jars = jars
    this.#jvm = jvm
    this.brokers = nodes.map((node) => `127.0.0.1:${node.port}`).join(',')
    process.once('exit', this.#onExit)
  }

  /** Formats and starts a cluster; resolves when every node is known to the first one. Rejects with the broker's own words. */
  static async start(version: string, options: KafkaOptions = {}): Promise<Kafka> {
    const jars = await kafkaJars(version)
    for (let attempt = 1; ; attempt++) {
      const kafka = await Kafka.#format(kafkaRelease(version), jars, options)
      try {
        for (const node of kafka.#nodes) kafka.#launch(node)
        await Promise.all(kafka.#nodes.map((node) => kafka.#ready(node)))
        return kafka
      } catch (cause) {
        await kafka.close()
        // The free port was taken between our look and the broker's bind.
        if (attempt === 3 || !/Address already in use|BindException/.test(String(cause))) throw cause
      }
    }
  }

  static async #format(version: string, jars: string, options: KafkaOptions): Promise<Kafka> {
    const count = options.nodes ?? 1
    const dir = mkdtempSync(join(tmpdir(), `millrace-kafka-${version}-`))
    const ports = await freePorts(count * 2)
    const nodes = Array.from({ length: count }, (_, i) => {
      return { id: i + 1, port: ports[2 * i]!, controllerPort: ports[2 * i + 1]!, dir: join(dir, `node-${i + 1}`) }
    })
    const kafka = new Kafka(version, nodes, dir, jars, options.jvm ?? quickJvm)
    const voters = nodes.map((node) => `${node.id}@127.0.0.1:${node.controllerPort}`).join(',')
    for (const node of nodes) {
      mkdirSync(node.dir)
      const config = { ...serverConfig(node, voters, count), ...options.config }
      const lines = Object.entries(config).map(([name, value]) => `${name}=${value}\n`)
      writeFileSync(join(node.dir, 'server.properties'), lines.join(''))
    }
    const clusterId = Buffer.from(`millrace-test-${count}-`.padEnd(16, 'x')).toString('base64url').slice(0, 22)
    await Promise.all(
      nodes.map(async (node) => {
        const args = ['format', '-t', clusterId, '-c', join(node.dir, 'server.properties')]
        try {
          await promisify(execFile)('java', [...quickJvm, '-cp', `${jars}/*`, 'kafka.tools.StorageTool', ...args])
        } catch (cause) {
          await kafka.close()
          const { code, stdout = '', stderr = '' } = cause as { code?: string; stdout?: string; stderr?: string }
          if (code === 'ENOENT') throw new Error('cannot run java: install a JDK 17 to test on a real Kafka')
          throw new Error(`kafka.tools.StorageTool failed:\n${stdout}${stderr}`)
        }
      }),
    )
    return kafka
  }

  /** kill -9; resolves when the process is gone. Its data stay. */
  async kill(nodeId = 1): Promise<void> {
    await this.#end(this.#node(nodeId), 'SIGKILL')
  }

  /** SIGSTOP: the node answers nothing but its connections stay. */
  pause(nodeId = 1): void {
    process.kill(this.#node(nodeId).pid!, 'SIGSTOP')
  }

  /** SIGCONT. */
  resume(nodeId = 1): void {
    process.kill(this.#node(nodeId).pid!, 'SIGCONT')
  }

  /** Starts a node that was killed, with its data and on its port; kills it first if it runs. */
  async restart(nodeId = 1): Promise<void> {
    const node = this.#node(nodeId)
    await this.#end(node, 'SIGKILL')
    this.#launch(node)
    await this.#ready(node)
  }

  /** Ends every node and removes the data. */
  async close(): Promise<void> {
    // Nothing here is kept, so nothing needs an orderly shutdown.
    await Promise.all(this.#nodes.map((node) => this.#end(node, 'SIGKILL')))
    process.off('exit', this.#onExit)
    rmSync(this.dataDir, { recursive: true, force: true })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #node(id: number): Node {
    const node = this.#nodes.find((candidate) => candidate.id === id)
    if (node === undefined) throw new Error(`this cluster has no node ${id}`)
    return node
  }

  /** A shell stands between: when this process dies, even by kill -9, its end of the pipe closes and the JVM is killed. */
  #launch(node: Node): void {
    const script = [
      'exec 3<&0; dir=$1; shift; java "$@" 3<&- </dev/null & pid=$!; echo $pid',
      '(cat <&3 >/dev/null; kill -9 $pid; rm -rf "$dir") 2>/dev/null & watch=$!; wait $pid; kill $watch',
    ].join('\n')
    const java = [
      ...this.#jvm,
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      '-cp',
      `${this.#jars}/*`,
      'kafka.Kafka',
    ]
    const log = openSync(join(node.dir, 'log'), 'a')
    const guard = spawn('sh', ['-c', script, 'sh', this.dataDir, ...java, join(node.dir, 'server.properties')], {
      stdio: ['pipe', 'pipe', log],
      detached: true, // a signal to this process's group (Ctrl-C) is ours to act on, in order
    })
    closeSync(log)
    node.guard = guard
    node.ended = new Promise((resolve) => {
      guard.once('exit', () => {
        delete node.pid
        guard.stdin?.destroy()
        guard.stdout?.destroy()
        resolve()
      })
    })
    guard.stdin?.on('error', () => {}) // the shell may be gone first
    guard.stdout?.once('data', (chunk) => (node.pid = Number(String(chunk).trim().split('\n')[0])))
  }

  async #ready(node: Node): Promise<void> {
    const deadline = Date.now() + startDeadlineMs
    let ended = false
    void node.ended?.then(() => (ended = true))
    for (;;) {
      const known = await brokersKnownTo(node.port)
      if (known >= this.#nodes.filter(isRunning).length) return
      if (ended) throw new Error(`Kafka ${this.version} ended while starting:\n${this.log(node.id)}`)
      if (Date.now() > deadline)
        throw new Error(`Kafka ${this.version} did not answer in ${startDeadlineMs} ms:\n${this.log(node.id)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** The end of a node's log: warnings and errors. */
  log(nodeId = 1): string {
    return readFileSync(join(this.#node(nodeId).dir, 'log'), 'utf8').slice(-6_000)
  }

  async #end(node: Node, signal: NodeJS.Signals): Promise<void> {
    if (!isRunning(node)) return
    if (node.pid === undefined) node.guard?.stdin?.destroy()
    else process.kill(node.pid, signal)
    await node.ended
  }

  /** The process exits: what can be done synchronously. */
  #abandon(): void {
    for (const { pid } of this.#nodes) {
      try {
        if (pid !== undefined) process.kill(pid, 'SIGKILL')
      } catch {
        // already gone
      }
    }
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}

function isRunning({ guard }: Node): boolean {
  return guard !== undefined && guard.exitCode === null && guard.signalCode === null
}

/** Small, quick and strict: no topic is created by itself, rebalances start at once, short sessions are allowed. */
function serverConfig(node: Node, voters: string, count: number): Record<string, string> {
  const replicas = String(Math.min(3, count))
  return {
    'process.roles': 'broker,controller',
    'node.id': String(node.id),
    'controller.quorum.voters': voters,
    listeners: `PLAINTEXT://127.0.0.1:${node.port},CONTROLLER://127.0.0.1:${node.controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${node.port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': join(node.dir, 'data'),
    'auto.create.topics.enable': 'false',
    'num.partitions': '6',
    'default.replication.factor': replicas,
    'min.insync.replicas': count >= 3 ? '2' : '1',
    'offsets.topic.num.partitions': '8',
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.num.partitions': '8',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': '1',
    // A node killed with -9 may register again only when its old session is over (9 s by default).
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'log.retention.hours': '-1',
    'log.segment.bytes': '268435456',
    'log.cleaner.dedupe.buffer.size': '16777216',
  }
}

/** Ports that were free a moment ago; all held at once so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject)
          server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
        }),
    ),
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/**
 * How many brokers the node on `port` tells of in a Metadata answer (a fenced broker is not told of); 0 when it does not
 * answer. Written by hand, so that the harness does not depend on what it is there to judge.
 */
export function brokersKnownTo(port: number): Promise<number> {
  const request = Buffer.from([0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 255, 255, 0, 0, 0, 0]) // Metadata v1, no topics
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let answer = Buffer.alloc(0)
    const end = (count: number): void => {
      socket.destroy()
      resolve(count)
    }
    socket.setTimeout(2_000, () => end(0))
    socket.on('error', () => end(0))
    socket.on('close', () => resolve(0))
    socket.on('connect', () => socket.write(request))
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk])
      if (answer.length >= 12) end(answer.readInt32BE(8))
    })
  })
}
