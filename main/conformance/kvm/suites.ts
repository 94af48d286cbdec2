// What is special in single suites of KVM's cases: their notes say so.

import { secondaryOn } from '#sim/hw/vmcs.ts';
import { IOAPIC_REG_SELECT, IOAPIC_REG_WINDOW } from '#sim/kvm/ioapic.ts';
import { redirection } from '#sim/state/ioapic.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { exitReason, secondaryControl } from '#sim/state/vmcs.ts';
import type { Answer, Operate, Read, Tables } from '../adapter.ts';
import { baseFor, type KvmBench, membersOf, registersOf, setBase } from './bench.ts';
import { done, need } from './functions.ts';
import { nestedBitmap } from './nested_bitmap.ts';
import { nestedControls } from './nested_controls.ts';
import { nestedEvents } from './nested_events.ts';
import { nestedMerge } from './nested_merge.ts';
import { actingVcpu, mmioWrite, readRegisterOf } from './ops.ts';
import { deliverVirtualInterrupt, virtualEoi } from './processor.ts';
import { passedThrough, perVcpuSets, pinsWith, wordsOf } from './read.ts';
import { harvest, peek, serveApicvUpdates, serveIoapicScans } from './settle.ts';
import { advanceTime, injectTimers } from './time.ts';
import { inhibitReasons, mpStates, nameFor, numberFor, numberOf } from './words.ts';

type KvmTables = Tables<KvmBench>;

const APIC_ID = 0x020;
const TMCCT = 0x390;
const ICR = 0x300;

/** Does the processor deliver interrupts and take EOIs by itself, for the L1 that runs? */
const virtualized = ({ m }: KvmBench): boolean => {
  const { guest_mode, vmcs01 } = m.vcpu[0]!;
  return !guest_mode && secondaryOn(vmcs01, secondaryControl.VIRTUAL_INTR_DELIVERY);
};

const orNull = (vector: number): number | null => (vector < 0 ? null : vector);

const byProcessor = (vector: number): Answer => ({ by: 'processor', vector: orNull(vector) });
const byKvm = (vector: number): Answer => ({ by: 'kvm', vector: orNull(vector) });

/** One interrupt is taken, if there is one that can be. */
const serviceOne: Operate<KvmBench> = (bench) => {
  const { m } = bench;
  if (virtualized(bench)) {
    return byProcessor(deliverVirtualInterrupt(bench, 0));
  }
  const vector = done(m, 0, need('kvm_apic_has_interrupt')(m, 0));
  if (vector >= 0) done(m, 0, need('kvm_apic_ack_interrupt')(m, 0, vector));
  return byKvm(vector);
};

/** The guest ends an interrupt: which one it was is seen in ISR. */
const eoi: Operate<KvmBench> = (bench) => {
  const { m } = bench;
  const { isr } = m.vcpu[0]!.apic;
  const before = membersOf(isr);
  const ended = (): number => before.find((vector) => !isr.has(vector)) ?? -1;
  if (virtualized(bench)) {
    virtualEoi(bench, 0);
    return byProcessor(ended());
  }
  done(m, 0, need('kvm_lapic_set_eoi')(m, 0));
  return byKvm(ended());
};

const setInhibit: Operate<KvmBench> = ({ m, user }, op) => {
  const reason = numberFor(inhibitReasons, op['reason']);
  const call = need('kvm_set_or_clear_apicv_inhibit')(m, reason, op['set'] === true);
  done(m, user, call);
  return {};
};

/**
 * The newest kernel that puts off what L2's run does to vmcs01 until L2 ends. Two suites look at
 * that: at vmcs01 while L2 runs, and at the value that is kept for it. Later kernels write vmcs01
 * at once, and have nothing that is kept.
 */
const deferring = 'k6.19';

const transitions: KvmTables = {
  profile: deferring,
  ops: {
    inhibit: setInhibit,
    service: serviceOne,
    eoi,
    'set-xapic-id': (bench, op) => {
      const low = (numberOf(op['id']) << 24) >>> 0;
      mmioWrite(bench, 0, APIC_ID, { low, high: 0 });
      return {};
    },
    'enter-l2': ({ m }) => {
      done(m, 0, need('nested_vmx_enter_non_root_mode')(m, 0, true));
      return {};
    },
    'exit-l2': ({ m }) => {
      done(m, 0, need('__nested_vmx_vmexit')(m, 0));
      return {};
    },
  },
  after: (bench) => {
    serveApicvUpdates(bench);
    harvest(bench);
  },
};

const ioapicRegister = (pin: number, half: number): number => 0x10 + pin * 2 + half;

/** Writes the halves that are named, as a guest with 32-bit registers has to. */
const writeRedirection: Operate<KvmBench> = ({ m, user }, op) => {
  const pin = numberOf(op['pin']);
  for (const [half, name] of ['low', 'high'].entries()) {
    if (op[name] === undefined) continue;
    const register = ioapicRegister(pin, half);
    done(m, user, need('ioapic_mmio_write')(m, IOAPIC_REG_SELECT, register));
    done(m, user, need('ioapic_mmio_write')(m, IOAPIC_REG_WINDOW, numberOf(op[name])));
  }
  return {};
};

/** The vector is taken, whatever else would be deliverable. */
const acknowledgeVector: Operate<KvmBench> = (bench, op) => {
  const { m } = bench;
  const vcpu = actingVcpu(op);
  harvest(bench);
  done(m, vcpu, need('kvm_apic_ack_interrupt')(m, vcpu, numberOf(op['vector'])));
  return {};
};

const ioapicSequences: KvmTables = {
  ops: {
    'ioapic.write-redirection': writeRedirection,
    'ioapic.line': ({ m, user }, op) => {
      const [pin, level] = [numberOf(op['pin']), numberOf(op['level'])];
      done(m, user, need('kvm_ioapic_set_irq')(m, pin, level));
      return {};
    },
    acknowledge: acknowledgeVector,
  },
  expects: {
    per_vcpu: perVcpuSets,
    remote_irr: pinsWith(redirection.REMOTE_IRR),
    ioapic_irr: ({ m }) => membersOf(m.vm.ioapic.irr),
  },
  after: serveIoapicScans,
};

const eoiExitBitmap: KvmTables = {
  ops: {
    'scan-ioapic': (bench, op) => {
      const { m } = bench;
      const vcpu = actingVcpu(op);
      done(m, vcpu, need('vcpu_scan_ioapic')(m, vcpu));
      if (m.vcpu[vcpu]!.requests.clear(KVM_REQ.LOAD_EOI_EXITMAP)) {
        done(m, vcpu, need('vmx_load_eoi_exitmap')(m, vcpu));
      }
      return {};
    },
  },
};

const currentCount: Read<KvmBench> = (bench) =>
  peek(bench, () => readRegisterOf(bench, 0, TMCCT)['value']);

const deadline: Read<KvmBench> = (bench) => {
  const { m } = bench;
  return peek(bench, () => done(m, 0, need('kvm_get_lapic_tscdeadline_msr')(m, 0)));
};

/** The vector is taken and ended after this step: before the next one. */
const thenServiced: Read<KvmBench> = (bench, expected) => {
  bench.toService = numberOf(expected);
  return bench.m.vcpu[0]!.apic.irr.has(bench.toService) ? bench.toService : null;
};

const timer: KvmTables = {
  ops: {
    'advance-time': (bench, op) => {
      advanceTime(bench, op);
      return {};
    },
  },
  expects: { tmcct: currentCount, tsc_deadline_msr: deadline, then_serviced: thenServiced },
  after: injectTimers,
};

const busClock: KvmTables = {
  ...timer,
  expects: {
    ...timer.expects,
    ticks_elapsed: (_, __, { value }) => 0xffff_ffff - Number(value),
  },
};

const switchMode: Operate<KvmBench> = (bench, op) => {
  setBase(bench, 0, baseFor(bench, 0, String(op['to'])), true);
  return {};
};

const x2apicMsrBitmap: KvmTables = {
  ops: { 'switch-mode': switchMode },
  expects: {
    read_pass_through: passedThrough('x2apic_read'),
    write_pass_through: passedThrough('x2apic_write'),
  },
  after: serveApicvUpdates,
};

/** Reset values of SPIV and TPR: the cases start from others. */
const wasReset: Read<KvmBench> = ({ m }) => {
  const { spiv, tpr } = m.vcpu[0]!.apic;
  return spiv === 0xff && tpr === 0;
};

/** Where the code segment of a vCPU is after a reset: no SIPI puts it there. */
const csBaseOfReset = 0xffff_0000;

const sipiDelivered: Read<KvmBench> = ({ m }) => {
  const { cs_base } = m.vcpu[0]!.guest;
  return cs_base === csBaseOfReset ? null : cs_base >>> 12;
};

/** What mp_state was when L2 ended: steps are taken back to there, and done again. */
function mpStateAtExit({ m }: KvmBench): number {
  const { arena } = m;
  const vcpu = m.vcpu[0]!;
  const { position } = arena;
  while (!vcpu.guest_mode) arena.undo();
  const { mp_state } = vcpu;
  while (arena.position < position) arena.redo();
  return mp_state;
}

/**
 * The suite records the exit from L2 and does not make it: its mp_state is that of the functions
 * which decide. The model makes the exit, so that the vCPU has to end RUNNABLE, whatever it was
 * ("in case we halted in L2", nested.c); anything else at the end is a fault.
 */
const mpStateOfEvents: Read<KvmBench> = (bench) => {
  const { nested, mp_state } = bench.m.vcpu[0]!;
  const { vm_exit_reason: reason } = nested.cached_vmcs12;
  if (reason === exitReason.NONE) return nameFor(mpStates, mp_state);
  if (mp_state === mpState.RUNNABLE) return nameFor(mpStates, mpStateAtExit(bench));
  throw new Error(`L1 runs with mp_state ${nameFor(mpStates, mp_state)} after the exit from L2`);
};

const acceptEvents: Operate<KvmBench> = ({ m }) => {
  m.vcpu[0]!.guest.cs_base = csBaseOfReset;
  return { return: done(m, 0, need('kvm_apic_accept_events')(m, 0)) };
};

const nestedExit: Read<KvmBench> = ({ m }) => {
  const { vm_exit_reason: reason, exit_qualification } = m.vcpu[0]!.nested.cached_vmcs12;
  if (reason === exitReason.NONE) return null;
  return { exit_reason: reason, exit_qualification };
};

const initSipi: KvmTables = {
  ops: { 'accept-init-sipi': acceptEvents },
  expects: {
    mp_state: mpStateOfEvents,
    lapic_reset_by_init: wasReset,
    sipi_vector_delivered: sipiDelivered,
    vm_exit_to_l1: nestedExit,
    l2_still_active: ({ m }) => m.vcpu[0]!.guest_mode,
    regs_after_init: (bench, expected) => wordsOf(registersOf(bench, 0), expected),
  },
};

/** What the field holds before the operation; no threshold is as high. */
const untouched = 0xff;

/** A field that the operation left as it was is null. */
const ifWritten = (value: number, unwritten: number): number | null =>
  value === unwritten ? null : value;

const tprThreshold: KvmTables = {
  profile: deferring,
  ops: {
    'update-cr8-intercept': ({ m }) => {
      m.vcpu[0]!.vmcs01.tpr_threshold = untouched;
      done(m, 0, need('update_cr8_intercept')(m, 0));
      return {};
    },
  },
  expects: {
    vmcs01_tpr_threshold: ({ m }) => ifWritten(m.vcpu[0]!.vmcs01.tpr_threshold, untouched),
    deferred_to_nested_exit: ({ m }) => ifWritten(m.vcpu[0]!.nested.l1_tpr_threshold, -1),
    // vmcs02 is none of the fields that the model writes here.
    vmcs02_tpr_threshold: () => null,
  },
};

const icrReadback: KvmTables = {
  expects: {
    rdmsr_830: (bench) => peek(bench, () => readRegisterOf(bench, 0, ICR)['value']),
  },
};

const syncPir: KvmTables = {
  expects: {
    // A VMWRITE reaches what is loaded, which is vmcs02 while L2 runs: so there may be none.
    vmcs02_guest_interrupt_status_unchanged: ({ m, before }) =>
      m.vcpu[0]!.vmcs01.guest_intr_status === before[0]!.guest_intr_status,
  },
};

const pirMerge: KvmTables = {
  expects: { pir: ({ m }) => membersOf(m.vcpu[0]!.pi_desc.pir) },
};

export const suites: Readonly<Record<string, KvmTables>> = {
  'kvm.apicv.transitions': transitions,
  'kvm.ioapic.sequences': ioapicSequences,
  'kvm.apicv.eoi_exit_bitmap': eoiExitBitmap,
  'kvm.lapic.timer': timer,
  'lapic.timer.bus_clock': busClock,
  'kvm.vmx.x2apic_msr_bitmap': x2apicMsrBitmap,
  'kvm.lapic.apic_base': { after: serveApicvUpdates },
  'kvm.lapic.init_sipi': initSipi,
  'kvm.vmx.tpr_threshold': tprThreshold,
  'lapic.icr.readback': icrReadback,
  'kvm.apicv.sync_pir_to_irr': syncPir,
  'kvm.apicv.pir_merge': pirMerge,
  'kvm.nested.entry_controls': nestedControls,
  'kvm.nested.entry_merge': nestedMerge,
  'kvm.nested.msr_bitmap': nestedBitmap,
  'kvm.nested.events': nestedEvents,
  'kvm.nested.posted_interrupt': nestedEvents,
  'kvm.nested.has_events': nestedEvents,
};
