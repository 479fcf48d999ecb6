/** The lock: one holder at a time, whoever died before, and nobody writes who lost it. */
import * as assert from 'uvu/assert'
import { realRandom } from '../../../src/base/real-random.ts'
import type { StoreError } from '../../../src/storage/errors.ts'
import { type HolderState, holderState, StoreLock } from '../../../src/storage/log/lock.ts'
import {
  type LockOwner,
  type ProcessIdentity,
  parseStartTime,
  processIdentity,
} from '../../../src/storage/log/process-identity.ts'
import { suite } from '../../support/suite.ts'
import { FaultFs, failing } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('lock')
const store = 'g/t/0'
const path = '/s/LOCK'

/** Start times of the processes that live on the machine of these tests. */
type Machine = Map<number, string>

function identityOf(pid: number, machine: Machine, owner: Partial<LockOwner> = {}): ProcessIdentity {
  const nonce = `nonce-${pid}`
  const startTime = machine.get(pid) ?? ''
  const initTime = '7'
  return {
    ...{ pid, host: 'one', bootId: 'boot', startTime, initTime, nonce, ...owner },
    startTimeOf: (other) => machine.get(other),
  }
}

function emptySim(): SimFs {
  const fs = new SimFs()
  fs.mkdirSync('/s')
  fs.syncDirSync('/')
  return fs
}

function recordOf({ pid, host, bootId, startTime, initTime, nonce }: LockOwner): Buffer {
  return Buffer.from(JSON.stringify({ pid, host, bootId, startTime, initTime, nonce }))
}

function codeOf(call: () => unknown): string {
  try {
    call()
    return 'ok'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

test('a store is locked, checked, and given back', () => {
  const fs = emptySim()
  const machine: Machine = new Map([[1, '100']])
  const lock = StoreLock.acquire(fs, path, store, identityOf(1, machine))
  assert.equal(JSON.parse(fs.contentOf(path).toString()), {
    pid: 1,
    host: 'one',
    bootId: 'boot',
    startTime: '100',
    initTime: '7',
    nonce: 'nonce-1',
  })
  lock.check()
  lock.release()
  lock.release()
  assert.equal(fs.readdirSync('/s'), [])
  assert.is(
    codeOf(() => lock.check()),
    'ERR_STORE_POISONED',
  )
  StoreLock.acquire(fs, path, store, identityOf(1, machine)).release()
  assert.equal(fs.open, [])
})

test('twice in a process: refused, also after somebody removed the file', () => {
  const fs = emptySim()
  const machine: Machine = new Map([[1, '100']])
  const lock = StoreLock.acquire(fs, path, store, identityOf(1, machine))
  const second = identityOf(1, machine, { nonce: 'other' })
  const again = (through = fs as SimFs | FaultFs): string =>
    codeOf(() => StoreLock.acquire(through, path, store, second))
  assert.is(again(), 'ERR_STORE_LOCKED')
  assert.is(again(new FaultFs(fs)), 'ERR_STORE_LOCKED', 'through another view of the file system')
  fs.removeSync(path)
  assert.is(again(), 'ERR_STORE_LOCKED')
  assert.is(
    codeOf(() => lock.check()),
    'ERR_STORE_POISONED',
  )
  lock.release()
  assert.is(again(), 'ok')
})

test('a lock that could not be given back hinders nobody in this process, and a second try spares the next one', () => {
  const sim = emptySim()
  const fs = new FaultFs(sim)
  const machine: Machine = new Map([[1, '100']])
  const first = StoreLock.acquire(fs, path, store, identityOf(1, machine))
  fs.fail({ kinds: ['remove'] })
  assert.is(
    codeOf(() => first.release()),
    'EIO',
  )
  const second = StoreLock.acquire(fs, path, store, identityOf(1, machine, { nonce: 'second' }))
  first.release()
  second.check()
  sim.removeSync(path)
  const third = (): string =>
    codeOf(() => StoreLock.acquire(fs, path, store, identityOf(1, machine, { nonce: 'third' })))
  assert.is(third(), 'ERR_STORE_LOCKED')
  second.release()
  assert.is(third(), 'ok')
})

test('a lock says who has it and what to do', () => {
  const fs = emptySim()
  const machine: Machine = new Map([
    [1, '100'],
    [2, '200'],
  ])
  StoreLock.acquire(fs, path, store, identityOf(1, machine))
  try {
    StoreLock.acquire(new FaultFs(fs), path, store, identityOf(2, machine))
    assert.unreachable()
  } catch (error) {
    const { code, message, file } = error as StoreError
    assert.is(code, 'ERR_STORE_LOCKED')
    assert.is(file, 'LOCK')
    assert.match(message, /store g\/t\/0: \/s\/LOCK is locked: process 1 on one has it open\. Stop that process/)
  }
})

test('whether a holder is gone', () => {
  const machine: Machine = new Map([
    [1, '100'],
    [2, '200'],
    [3, ''],
  ])
  const self = identityOf(1, machine)
  const table: [string, Partial<LockOwner> & { pid: number }, HolderState, ProcessIdentity?][] = [
    ['it lives', { pid: 2, startTime: '200' }, 'alive'],
    ['it is this process', { pid: 1, startTime: '100' }, 'alive'],
    ['no such process', { pid: 9, startTime: '200' }, 'gone'],
    ['its number was given to another', { pid: 2, startTime: '150' }, 'gone'],
    ['another boot', { pid: 2, startTime: '200', bootId: 'before' }, 'unknown'],
    ['another boot of another machine', { pid: 2, startTime: '200', bootId: 'x', host: 'two' }, 'unknown'],
    ['another name of the same boot, alive', { pid: 2, startTime: '200', host: 'two' }, 'alive'],
    ['another name of the same boot, dead', { pid: 9, startTime: '200', host: 'two' }, 'gone'],
    ['another container, no such process here', { pid: 9, startTime: '200', initTime: '8' }, 'unknown'],
    ['another container, its number is used here', { pid: 2, startTime: '150', initTime: '8' }, 'unknown'],
    ['another container that sees our processes', { pid: 2, startTime: '200', initTime: '8' }, 'alive'],
    ['nothing known of its container, same host, dead', { pid: 9, initTime: '' }, 'gone'],
    ['nothing known of its container, other host, dead', { pid: 9, initTime: '', host: 'two' }, 'unknown'],
    ['its start was unknown', { pid: 2, startTime: '' }, 'alive'],
    ['its start cannot be asked', { pid: 3, startTime: '300' }, 'alive'],
    ['no boots known, same machine, dead', { pid: 9, bootId: '' }, 'gone'],
    ['no boots known, same machine, alive', { pid: 2, bootId: '' }, 'alive'],
    ['no boots known, another machine', { pid: 9, bootId: '', host: 'two' }, 'alive'],
    ['own boot unknown, another machine', { pid: 9, host: 'two' }, 'alive', identityOf(1, machine, { bootId: '' })],
    ['own boot unknown, same machine, dead', { pid: 9 }, 'gone', identityOf(1, machine, { bootId: '' })],
  ]
  for (const [what, owner, state, as = self] of table) {
    const holder = identityOf(owner.pid, machine, owner)
    assert.is(holderState(holder, as), state, what)
    const fs = emptySim()
    fs.tamper(path, recordOf({ ...holder, nonce: 'theirs' }))
    let lock: StoreLock | undefined
    const result = codeOf(() => {
      lock = StoreLock.acquire(fs, path, store, as)
      lock.check()
    })
    assert.is(result, state === 'alive' ? 'ERR_STORE_LOCKED' : 'ok', what)
    assert.is(lock?.mayHaveRival, state === 'alive' ? undefined : state === 'unknown', what)
    const told = state === 'unknown' ? ['UNSYNCED.tmp'] : []
    assert.equal(fs.readdirSync('/s').sort(), ['LOCK', ...told], 'nothing else is left')
  }
})

test('a lock of a release that did not know of containers', () => {
  const machine: Machine = new Map([[1, '100']])
  const fs = emptySim()
  const { initTime: _, ...record } = JSON.parse(recordOf(identityOf(9, machine)).toString()) as LockOwner
  fs.tamper(path, Buffer.from(JSON.stringify(record)))
  const lock = StoreLock.acquire(fs, path, store, identityOf(1, machine))
  lock.check()
  assert.not.ok(lock.mayHaveRival)
})

test('a lock that was never finished is taken over', () => {
  const machine: Machine = new Map([[1, '100']])
  const whole = recordOf(identityOf(2, machine)).toString()
  const texts = ['', '\0'.repeat(80), 'x', '{}', 'null', '[]', '1', whole.slice(0, -1)]
  texts.push(whole.replace('"pid":2', '"pid":0'), whole.replace('"pid":2', '"pid":"2"'), whole.replace('one', '\n'))
  for (const field of ['pid', 'host', 'bootId', 'startTime', 'nonce']) {
    texts.push(JSON.stringify({ ...(JSON.parse(whole) as object), [field]: undefined }))
  }
  for (const text of texts) {
    const fs = emptySim()
    fs.tamper(path, Buffer.from(text))
    StoreLock.acquire(fs, path, store, identityOf(1, machine)).check()
    assert.equal(fs.readdirSync('/s'), ['LOCK'], text)
  }
})

test('who lost the lock is told, and does not give back what is not its own', () => {
  const machine: Machine = new Map([[1, '100']])
  for (const bootId of ['boot', 'after']) {
    const fs = emptySim()
    const lost = StoreLock.acquire(fs, path, store, identityOf(1, machine))
    // A process that cannot see the first one, as in another container.
    const thief = identityOf(7, new Map([[7, '700']]), { bootId })
    const stolen = StoreLock.acquire(new FaultFs(fs), path, store, thief)
    stolen.check()
    try {
      lost.check()
      assert.unreachable()
    } catch (error) {
      assert.is((error as StoreError).code, 'ERR_STORE_POISONED')
      assert.match((error as StoreError).message, /was lost: now process 7 on one has it/)
    }
    lost.release()
    stolen.check()
    stolen.release()
    assert.not.ok(fs.existsSync(path))
  }
})

test('a kill and a power loss leave a lock that the next process takes over', () => {
  const fs = emptySim()
  const identity = (of: SimFs): ProcessIdentity => processIdentity(realRandom, of)
  StoreLock.acquire(fs, path, store, identity(fs))
  assert.is(
    codeOf(() => StoreLock.acquire(new FaultFs(fs), path, store, identity(fs))),
    'ERR_STORE_LOCKED',
  )
  const killed = fs.kill()
  StoreLock.acquire(killed, path, store, identity(killed)).check()
  fs.syncDirSync('/s')
  const crashed = fs.kill()
  assert.ok(crashed.existsSync(path))
  StoreLock.acquire(crashed, path, store, identity(crashed)).check()
})

test('each operation fails: the lock is free or held by who got it, no file stays open', () => {
  const machine: Machine = new Map([[1, '100']])
  for (const forever of [false, true]) {
    for (const before of [undefined, Buffer.alloc(0), recordOf(identityOf(9, machine))]) {
      for (let at = 1; ; at++) {
        const what = `operation ${at} with ${before?.length ?? 'no'} bytes${forever ? ', for ever' : ''}`
        const sim = emptySim()
        if (before !== undefined) sim.tamper(path, before)
        const fs = new FaultFs(sim)
        const fault = fs.fail({ at, forever, kinds: failing, written: 0.5, code: 'ENOSPC' })
        let lock: StoreLock | undefined
        const got = codeOf(() => {
          lock = StoreLock.acquire(fs, path, store, identityOf(1, machine))
          try {
            lock.check()
          } finally {
            lock.release()
          }
        })
        assert.equal(sim.open, [], what)
        // When it cannot be looked at, the check says so in words.
        assert.ok(['ok', 'ENOSPC', 'ERR_STORE_IO'].includes(got), `${what}: ${got}`)
        fs.heal()
        if (lock === undefined && !forever && before === undefined) assert.not.ok(sim.existsSync(path), what)
        const next = StoreLock.acquire(fs, path, store, identityOf(1, machine, { nonce: 'next' }))
        // Giving back again what could not be given back then does no harm.
        if (got !== 'ok') lock?.release()
        next.check()
        next.release()
        assert.equal(
          sim.readdirSync('/s').filter((name) => !name.endsWith('.tmp')),
          [],
          what,
        )
        if (fault.failures === 0) break
      }
    }
  }
})

/** Runs `inner` before the `at`th operation of `outer`; returns whether it came to that. */
function interleave(sim: SimFs, at: number, outer: (fs: FaultFs) => void, inner: () => void): boolean {
  const fs = new FaultFs(sim)
  fs.before = ({ count }) => {
    if (count === at) inner()
  }
  outer(fs)
  return fs.total >= at
}

test('two processes at once, one stopped anywhere while the other runs: one of them has it', () => {
  const machine: Machine = new Map([
    [1, '100'],
    [2, '200'],
    [3, '300'],
  ])
  let schedules = 0
  for (const before of [undefined, Buffer.alloc(0), recordOf(identityOf(9, machine))]) {
    for (let at = 1; ; at++) {
      const sim = emptySim()
      if (before !== undefined) sim.tamper(path, before)
      const locks = new Map<number, StoreLock>()
      const take = (fs: FaultFs, pid: number): void => {
        try {
          locks.set(pid, StoreLock.acquire(fs, path, store, identityOf(pid, machine)))
        } catch (error) {
          assert.is((error as StoreError).code, 'ERR_STORE_LOCKED')
        }
      }
      const ran = interleave(
        sim,
        at,
        (fs) => take(fs, 1),
        () => take(new FaultFs(sim), 2),
      )
      if (!ran) break
      schedules += 1
      const what = `stopped before operation ${at}, ${before?.length ?? 'no'} bytes`
      assert.is(locks.size, 1, what)
      for (const lock of locks.values()) lock.check()
      assert.equal(sim.readdirSync('/s'), ['LOCK'], what)
      for (const lock of locks.values()) lock.release()

      // The other one may also have gone again.
      if (before !== undefined) sim.tamper(path, before)
      const other = (): void => StoreLock.acquire(new FaultFs(sim), path, store, identityOf(2, machine)).release()
      const got = codeOf(() =>
        interleave(
          sim,
          at,
          (fs) => take(fs, 3),
          () => codeOf(other),
        ),
      )
      assert.is(got, 'ok', what)
      locks.get(3)!.check()
    }
  }
  assert.ok(schedules > 20, `${schedules} schedules`)
})

test('three processes at once: never more than one that passes its check', () => {
  const machine: Machine = new Map([1, 2, 3].map((pid) => [pid, `${pid}00`]))
  for (const before of [undefined, Buffer.alloc(0), recordOf(identityOf(9, machine))]) {
    for (let at = 1; ; at++) {
      let reached = false
      for (let within = 1; ; within++) {
        const sim = emptySim()
        if (before !== undefined) sim.tamper(path, before)
        const locks: StoreLock[] = []
        const take = (fs: FaultFs, pid: number): void => {
          if (codeOf(() => locks.push(StoreLock.acquire(fs, path, store, identityOf(pid, machine)))) === 'ok') return
        }
        let deep = false
        const ran = interleave(
          sim,
          at,
          (fs) => take(fs, 1),
          () => {
            deep = interleave(
              sim,
              within,
              (fs) => take(fs, 2),
              () => take(new FaultFs(sim), 3),
            )
          },
        )
        reached ||= ran
        if (!deep) break
        const holders = locks.filter((lock) => codeOf(() => lock.check()) === 'ok')
        assert.ok(holders.length <= 1, `stopped before ${at} and ${within}: ${holders.length} holders`)
        assert.ok(locks.length >= 1)
      }
      if (!reached) break
    }
  }
})

test('this process, as the machine tells it', () => {
  const one = processIdentity(realRandom)
  const two = processIdentity(realRandom)
  assert.is(one.pid, process.pid)
  assert.is.not(one.nonce, two.nonce)
  assert.match(one.nonce, /^[a-p]{32}$/)
  assert.equal([one.host, one.bootId, one.startTime], [two.host, two.bootId, two.startTime])
  assert.is(one.startTimeOf(process.pid), one.startTime)
  assert.is(one.startTimeOf(2 ** 22 + 1), undefined, 'above the largest number of a process')
  if (process.platform === 'linux') {
    assert.match(one.bootId, /^[0-9a-f-]{36}$/)
    assert.match(one.startTime, /^\d+$/)
  }
  const blind = processIdentity(realRandom, new FaultFs(new SimFs()))
  assert.is(blind.startTimeOf(process.ppid), '', 'what cannot be read is unknown')
  const sick = new FaultFs(new SimFs())
  for (const [code, told] of [
    ['EACCES', ''],
    ['EMFILE', 'EMFILE'],
  ] as const) {
    sick.fail({ kinds: ['open'], path: /boot_id/, code })
    let identity: ProcessIdentity | undefined
    const got = codeOf(() => {
      identity = processIdentity(realRandom, sick)
    })
    assert.is(identity?.bootId ?? got, told)
  }
})

test('the start time is found behind any name of a program', () => {
  const rest = `${'0 '.repeat(18)}4711 99 0\n`
  assert.is(parseStartTime(`7 (node) S ${rest}`), '4711')
  assert.is(parseStartTime(`7 (a b) S (c) R ${rest}`), '4711')
  assert.is(parseStartTime(`7 (node) Z ${rest}`), undefined, 'it has ended')
  assert.is(parseStartTime(`7 (node) X ${rest}`), undefined)
  assert.is(parseStartTime(''), '')
  assert.is(parseStartTime('7 (node) S 1 2 3'), '')
})

test.run()
