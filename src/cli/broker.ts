/** `millrace broker`: runs the embedded broker alone until SIGTERM or SIGINT. */
import { parseArgs } from 'node:util'
import { Broker, type TopicSpec } from '../broker/index.ts'
import { parsedArguments, UsageError } from './usage.ts'

const usage = `usage: millrace broker --port P [--host H] [--topic name[:partitions] …] [--insecure]

  --port P                  port to listen on (0: a free one)
  --host H                  address to listen on (default 127.0.0.1)
  --advertised-host H       address that clients are told (default: --host)
  --topic name[:partitions] create this topic; may be repeated
  --insecure                allow a --host that other machines can reach: there is no authentication

Everything is kept in memory. Prints one line when it is ready; ends on SIGTERM and SIGINT.`

interface BrokerArguments {
  readonly port: number
  readonly host: string | undefined
  readonly advertisedHost: string | undefined
  readonly topics: readonly TopicSpec[]
  readonly insecure: boolean
}

function wholeNumber(text: string, what: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${what} must be a whole number, not '${text}'`, usage)
  return Number(text)
}

/** `name` or `name:partitions`. */
function topicSpec(text: string): TopicSpec {
  const [name = '', partitions, more] = text.split(':')
  if (name === '' || more !== undefined)
    throw new UsageError(`--topic must be name or name:partitions, not '${text}'`, usage)
  return partitions === undefined
    ? { name }
    : { name, partitions: wholeNumber(partitions, `partitions of --topic ${name}`) }
}

/** What the command line says; undefined: only help was asked for. */
export function brokerArguments(args: readonly string[]): BrokerArguments | undefined {
  const options = {
    port: { type: 'string' },
    host: { type: 'string' },
    'advertised-host': { type: 'string' },
    topic: { type: 'string', multiple: true },
    insecure: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  const { values } = parsedArguments(usage, () =>
    parseArgs({ args: [...args], options, strict: true, allowPositionals: false }),
  )
  if (values.help === true) return undefined
  if (values.port === undefined) throw new UsageError('--port is missing', usage)
  return {
    port: wholeNumber(values.port, '--port'),
    host: values.host,
    advertisedHost: values['advertised-host'],
    topics: (values.topic ?? []).map(topicSpec),
    insecure: values.insecure === true,
  }
}

/** Runs until the process is told to end. */
export async function brokerCommand(args: readonly string[]): Promise<void> {
  const given = brokerArguments(args)
  if (given === undefined) {
    console.log(usage)
    return
  }
  const broker = await Broker.start({
    port: given.port,
    insecure: given.insecure,
    topics: given.topics,
    ...(given.host === undefined ? {} : { host: given.host }),
    ...(given.advertisedHost === undefined ? {} : { advertisedHost: given.advertisedHost }),
  })
  const ended = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
  console.log(`millrace broker ready on ${broker.brokers}`)
  await ended
  await broker.close()
}
