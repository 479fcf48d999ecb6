/** The command line of the click example, checked. */
import { parseArgs } from 'node:util'

export interface Arguments {
  /** Clicks to send before it verifies the table and ends; undefined: until interrupted. */
  readonly clicks: number | undefined
  /** Clicks per second; Infinity: as fast as they are acknowledged. */
  readonly rate: number
  /** Where the tables are kept; undefined: a folder of the system's for temporary files. */
  readonly state: string | undefined
  /** Port of the page on 127.0.0.1; 0: any free one. */
  readonly port: number
}

export const usage = `usage: npm start -- [--clicks N] [--rate CLICKS_PER_SECOND] [--port PORT] [--state DIR]
  --clicks N   end after N clicks, once the table is seen to equal what was sent; exit 0 if it does, else 1
  --rate R     default: 50 per second, with --clicks as fast as possible
  --port P     of the page on 127.0.0.1, default 9095; 0 takes a free one
  --state DIR  where the tables are kept, on a real Kafka; default: a folder for temporary files. After a restart, or kill -9,
               it goes on from there
  KAFKA_BROKERS=host:port npm start   uses that Kafka instead of the embedded broker`

/** Throws an Error that says what is wrong with them. */
export function parseArguments(args: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      clicks: { type: 'string' },
      rate: { type: 'string' },
      port: { type: 'string' },
      state: { type: 'string' },
    },
  })
  if (values.state === '') throw new Error('--state must name a directory')
  const number = (name: keyof typeof values, min: number, max: number): number | undefined => {
    const text = values[name]
    if (text === undefined) return undefined
    const value = Number(text)
    if (text.trim() === '' || !Number.isInteger(value) || value < min || value > max) {
      throw new Error(`--${name} must be a whole number from ${min} to ${max}, not "${text}"`)
    }
    return value
  }
  const clicks = number('clicks', 1, 1_000_000_000)
  return {
    clicks,
    rate: number('rate', 1, 1_000_000) ?? (clicks === undefined ? 50 : Number.POSITIVE_INFINITY),
    port: number('port', 0, 65_535) ?? 9095,
    state: values.state,
  }
}
