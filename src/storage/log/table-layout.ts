/**
 * The end of a table file: properties, what it holds, and the footer, where everything is. A table is
 * header (64 B) | records | CRCs of the records, one u32 per 32 KiB | slots | sparse index | properties | footer (64 B),
 * each part a multiple of 8 bytes. Stateless.
 *
 *   properties: 0 entries u32 | 4 tombstones u32 | 8 dataBytes u64 | 16 maxRecordBytes u32 | 20 hashSeed i32
 *               24 space of the smallest key u8, of the largest u8, 0 u16 | 28 their lengths u32, u32
 *               36 the two keys | zeros to 8
 *   footer:     0 ends of records, CRCs, slots, index, properties u32[5] | 20 CRCs of the last four u32[4]
 *               36 reserved, zeros[16] | 52 crc of bytes 0–51 | 56 magic[8]
 *
 * Every CRC here is seeded with the file's seed.
 */
import { crc32 } from 'node:zlib'
import { spaceCount } from '../contract.ts'
import { compareToBound, type KeyBound } from './cursor.ts'
import { align8, corrupt, fileHeaderBytes, readU64, writeU64 } from './format.ts'
import { minRecordBytes } from './record.ts'

/** Bytes of the footer. */
export const footerBytes = 64
/** Records are covered by one CRC per so many bytes. */
export const spanBytes = 32 * 1024
/** Largest table, bytes; one that holds a single record may be larger. Slots reach records up to here. */
export const maxTableBytes = 32 * 1024 * 1024

const magic = Buffer.from('MRLEND\0\x01', 'latin1')
const reservedAt = 36
const checkAt = 52
const keysAt = 36

/** What a table holds. */
export interface TableMeta {
  readonly fileNumber: number
  /** Of the file. */
  readonly byteLength: number
  /** Tombstones included. */
  readonly entryCount: number
  readonly tombstoneCount: number
  /** Key and value bytes of the entries that are no tombstones. */
  readonly dataBytes: number
  /** Of the largest record, header and padding included. */
  readonly maxRecordBytes: number
  /** The smallest key. */
  readonly min: KeyBound
  /** The largest key. */
  readonly max: KeyBound
}

/** Where the parts of a table are: each begins where the one before it ends, the records behind the header. */
export interface Sections {
  readonly recordsEnd: number
  readonly spansEnd: number
  readonly slotsEnd: number
  readonly indexEnd: number
  readonly propertiesEnd: number
  readonly spansCrc: number
  readonly slotsCrc: number
  readonly indexCrc: number
  readonly propertiesCrc: number
}

/** Bytes of the section of record CRCs. */
export function spansSize(recordAreaBytes: number): number {
  return align8(4 * Math.ceil(recordAreaBytes / spanBytes))
}

export function encodeFooter(sections: Sections, seed: number): Buffer {
  const footer = Buffer.alloc(footerBytes)
  const { recordsEnd, spansEnd, slotsEnd, indexEnd, propertiesEnd } = sections
  const { spansCrc, slotsCrc, indexCrc, propertiesCrc } = sections
  const fields = [recordsEnd, spansEnd, slotsEnd, indexEnd, propertiesEnd, spansCrc, slotsCrc, indexCrc, propertiesCrc]
  for (const [i, field] of fields.entries()) footer.writeUInt32LE(field, 4 * i)
  footer.writeUInt32LE(crc32(footer.subarray(0, checkAt), seed), checkAt)
  magic.copy(footer, footerBytes - magic.length)
  return footer
}

/** Reads the footer of a file of `fileBytes`. Throws StoreError ERR_STORE_CORRUPT. */
export function decodeFooter(footer: Buffer, fileBytes: number, seed: number, store: string, file: string): Sections {
  const start = fileBytes - footerBytes
  if (magic.compare(footer, footerBytes - magic.length, footerBytes) !== 0) {
    throw corrupt(store, file, fileBytes - magic.length, 'it does not end as a table: it was cut short or not finished')
  }
  if (footer.readUInt32LE(checkAt) !== crc32(footer.subarray(0, checkAt), seed)) {
    throw corrupt(store, file, start + checkAt, 'the checksum of its footer does not match')
  }
  const ends = [0, 1, 2, 3, 4].map((i) => footer.readUInt32LE(4 * i))
  const [recordsEnd, spansEnd, slotsEnd, indexEnd, propertiesEnd] = ends as [number, number, number, number, number]
  let before = fileHeaderBytes
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i]!
    if (end <= before || end % 8 !== 0) throw corrupt(store, file, start + 4 * i, `a part of it ends at byte ${end}`)
    before = end
  }
  if (propertiesEnd !== start) {
    throw corrupt(store, file, start + 16, `its footer belongs at byte ${propertiesEnd}, not ${start}`)
  }
  if (spansEnd - recordsEnd !== spansSize(recordsEnd - fileHeaderBytes)) {
    throw corrupt(store, file, start + 4, 'it has not one CRC for each part of its records')
  }
  return {
    recordsEnd,
    spansEnd,
    slotsEnd,
    indexEnd,
    propertiesEnd,
    spansCrc: footer.readUInt32LE(20),
    slotsCrc: footer.readUInt32LE(24),
    indexCrc: footer.readUInt32LE(28),
    propertiesCrc: footer.readUInt32LE(reservedAt - 4),
  }
}

/** Bytes of the properties of a table with such keys at its ends. */
export function propertiesSize(minLength: number, maxLength: number): number {
  return align8(keysAt + minLength + maxLength)
}

export function encodeProperties(meta: TableMeta, hashSeed: number): Buffer {
  const { min, max } = meta
  const properties = Buffer.alloc(propertiesSize(min.key.length, max.key.length))
  properties.writeUInt32LE(meta.entryCount, 0)
  properties.writeUInt32LE(meta.tombstoneCount, 4)
  writeU64(properties, meta.dataBytes, 8)
  properties.writeUInt32LE(meta.maxRecordBytes, 16)
  properties.writeInt32LE(hashSeed | 0, 20)
  properties[24] = min.space
  properties[25] = max.space
  properties.writeUInt32LE(min.key.length, 28)
  properties.writeUInt32LE(max.key.length, 32)
  min.key.copy(properties, keysAt)
  max.key.copy(properties, keysAt + min.key.length)
  return properties
}

/** Reads properties, whose CRC was checked. Throws StoreError ERR_STORE_CORRUPT. */
export function decodeProperties(
  properties: Buffer,
  sections: Sections,
  about: { readonly fileNumber: number; readonly hashSeed: number; readonly store: string; readonly file: string },
): TableMeta {
  const refuse = (at: number, what: string) => corrupt(about.store, about.file, sections.indexEnd + at, what)
  if (properties.length < keysAt) throw refuse(0, 'its properties are too short')
  const minLength = properties.readUInt32LE(28)
  const maxLength = properties.readUInt32LE(32)
  if (propertiesSize(minLength, maxLength) !== properties.length) {
    throw refuse(28, `keys of ${minLength} and ${maxLength} bytes do not fit its properties`)
  }
  const recordAreaBytes = sections.recordsEnd - fileHeaderBytes
  const meta: TableMeta = {
    fileNumber: about.fileNumber,
    byteLength: sections.propertiesEnd + footerBytes,
    entryCount: properties.readUInt32LE(0),
    tombstoneCount: properties.readUInt32LE(4),
    dataBytes: readU64(properties, 8),
    maxRecordBytes: properties.readUInt32LE(16),
    min: { space: properties[24]!, key: Buffer.from(properties.subarray(keysAt, keysAt + minLength)) },
    max: {
      space: properties[25]!,
      key: Buffer.from(properties.subarray(keysAt + minLength, keysAt + minLength + maxLength)),
    },
  }
  const { min, max } = meta
  if (meta.entryCount === 0 || meta.entryCount * minRecordBytes > recordAreaBytes) {
    throw refuse(0, `it cannot hold ${meta.entryCount} entries`)
  }
  if (meta.tombstoneCount > meta.entryCount) throw refuse(4, `of its entries, ${meta.tombstoneCount} are tombstones`)
  if (!(meta.dataBytes <= recordAreaBytes)) throw refuse(8, `it cannot hold ${meta.dataBytes} bytes of data`)
  const { maxRecordBytes } = meta
  if (maxRecordBytes < minRecordBytes || maxRecordBytes > recordAreaBytes || maxRecordBytes % 8 !== 0) {
    throw refuse(16, `its largest record has ${maxRecordBytes} bytes`)
  }
  if (properties.readInt32LE(20) !== (about.hashSeed | 0)) throw refuse(20, 'its hashes have another seed')
  if (max.space >= spaceCount || compareToBound(min.space, min.key, 0, minLength, max) > 0) {
    throw refuse(24, 'its smallest key is not below its largest')
  }
  return meta
}
