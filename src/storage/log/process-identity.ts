/**
 * Who this process is, so that a lock it leaves behind can be told from one that is held: the only file that asks the
 * operating system about processes. Start times and the id of the boot come from /proc; where there is none (macOS,
 * Windows) they are unknown, and a process number that was given to another process keeps a lock held. Stateless.
 */
import { hostname } from 'node:os'
import type { Fs } from '../../base/fs.ts'
import type { Random } from '../../base/scope.ts'
import { nodeFs } from '../node-fs.ts'
import { hasCode, readSmallFile } from './small-file.ts'

/** What identifies the holder of a lock; written into the lock's file. */
export interface LockOwner {
  readonly pid: number
  readonly host: string
  /** Differs after each start of the machine; empty when unknown. */
  readonly bootId: string
  /** When the process started, in the kernel's own units; empty when unknown. */
  readonly startTime: string
  /**
   * When process 1 started, as this process sees it: containers of a machine have process numbers, and a process 1, of their
   * own. Empty when unknown.
   */
  readonly initTime: string
  /** Drawn for one lock; small letters only. */
  readonly nonce: string
}

/** This process, and what it can see of others. */
export interface ProcessIdentity extends LockOwner {
  /** `startTime` of a process of this machine; empty when it cannot be told, undefined when there is no such process. */
  startTimeOf(pid: number): string | undefined
}

/** Longer than any of the files read here. */
const readBytes = 4096

/** Errors that mean that something cannot be known here. */
const untold = ['EACCES', 'EPERM', 'ESRCH', 'ENOTDIR']

/**
 * This process, with a new nonce: one identity for each lock. Throws the system's error when /proc is there but cannot be
 * read just now (too many open files).
 */
export function processIdentity(random: Random, fs: Fs = nodeFs()): ProcessIdentity {
  const read = (path: string): string => {
    try {
      return readSmallFile(fs, path, readBytes)?.toString('latin1') ?? ''
    } catch (error) {
      // A container may not read it, and a process may end meanwhile. Other failures say nothing about what is there.
      if (untold.some((code) => hasCode(error, code))) return ''
      throw error
    }
  }
  const startTimeOf = (pid: number): string | undefined =>
    exists(pid) ? parseStartTime(read(`/proc/${pid}/stat`)) : undefined
  return {
    pid: process.pid,
    host: hostname(),
    bootId: read('/proc/sys/kernel/random/boot_id').trim(),
    startTime: startTimeOf(process.pid) ?? '',
    initTime: startTimeOf(1) ?? '',
    nonce: letters(random.bytes(16)),
    startTimeOf,
  }
}

/**
 * The start time in the text of /proc/<pid>/stat; empty when it is none. Undefined for a process that has ended and only
 * waits to be asked how.
 */
export function parseStartTime(stat: string): string | undefined {
  // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
  const fields = stat
    .slice(stat.lastIndexOf(')') + 1)
    .trim()
    .split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  const startTime = fields[19] ?? ''
  return /^\d+$/.test(startTime) ? startTime : ''
}

/** Whether a process has this number; one of another user counts. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !hasCode(error, 'ESRCH')
  }
}

/** Bytes as letters a–p: no digits, so that a name made of them is never taken for one with a file number. */
function letters(bytes: Buffer): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(97 + (byte >>> 4), 97 + (byte & 15))
  return text
}
