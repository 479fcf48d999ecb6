/**
 * A real Kafka by hand or for a script: node .build/tools/kafka.js 3.9|4.3|VERSION
 * Prints `KAFKA_BROKERS=host:port` when it is ready and runs until SIGINT or SIGTERM; then its data are removed. Jars come from Maven once (test/support/kafka-jars.ts).
 */
import { Kafka } from '../test/support/kafka.ts'

const version = process.argv[2]
if (version === undefined) {
  console.error('usage: kafka 3.9|4.3|VERSION')
  process.exit(2)
}
const kafka = await Kafka.start(version)
console.log(`KAFKA_BROKERS=${kafka.brokers}`)
const stop = (): void => void kafka.close().then(() => process.exit(0))
process.once('SIGINT', stop)
process.once('SIGTERM', stop)
