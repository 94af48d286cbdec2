// Operations of the cases for KVM's APIC: each calls the function of KVM that it is named after.

import type { Machine } from '#sim/steps.ts';
import type { Answer, JsonObject, Operate } from '../adapter.ts';
import { type KvmBench, modeOf, readRegister as readRaw, restore, setBase } from './bench.ts';
import { done, type Halves, highestOf, isNewHighest, type KvmLapicIrq, need } from './functions.ts';
import { useVapic } from './givens.ts';
import {
  deliveryModes,
  destModes,
  halvesOf,
  mpStates,
  numberFor,
  numberOf,
  shorthands,
} from './words.ts';

const ICR = 0x300;
const ICR2 = 0x310;
const X2APIC_MSR = 0x800;
const APIC_BASE_MSR = 0x1b;
const TSC_DEADLINE_MSR = 0x6e0;
const EOPNOTSUPP = -95;
const EINVAL = -22;

/** The vCPU that executes; suites call it `cpu` or `vcpu`. */
export const actingVcpu = (op: JsonObject): number => Number(op['vcpu'] ?? op['cpu'] ?? 0);

/** 0, 1 for #GP, −EOPNOTSUPP for what the in-kernel APIC leaves to user space. */
const outcomeOf = (result: number): string => {
  if (result === 0) return 'completes';
  return result === EOPNOTSUPP ? 'not-claimed' : '#GP';
};

const wrote = (result: number): Answer => ({ outcome: outcomeOf(result) });

/** The value is there only if the read completed. */
const readResult = ({ m }: KvmBench, vcpu: number, result: number): Answer => {
  const { value, value_high } = m.vcpu[vcpu]!.guest;
  if (result !== 0) return wrote(result);
  return { outcome: 'completes', value: BigInt(value) | (BigInt(value_high) << 32n) };
};

/** Where a register is in guest-physical space: the guest may have moved the window. */
const gpaOf = (m: Machine, vcpu: number, offset: number): number =>
  m.vcpu[vcpu]!.apic.base_address + offset;

/** Accesses of 8 bytes are refused whatever they hold: their low half stands for them. */
export function mmioWrite(bench: KvmBench, vcpu: number, offset: number, value: Halves, width = 4) {
  const { m } = bench;
  return done(m, vcpu, need('apic_mmio_write')(m, vcpu, gpaOf(m, vcpu, offset), width, value.low));
}

export function mmioRead({ m }: KvmBench, vcpu: number, offset: number, width = 4): number {
  return done(m, vcpu, need('apic_mmio_read')(m, vcpu, gpaOf(m, vcpu, offset), width));
}

type WriteMsr = (bench: KvmBench, vcpu: number, value: Halves, host: boolean) => number;

const whole = ({ low, high }: Halves): number => high * 2 ** 32 + low;

const setDeadline: WriteMsr = ({ m }, vcpu, value) => {
  done(m, vcpu, need('kvm_set_lapic_tscdeadline_msr')(m, vcpu, whole(value)));
  return 0;
};

/** MSRs besides the x2APIC's own. */
const msrs: Readonly<Record<number, WriteMsr>> = {
  [APIC_BASE_MSR]: setBase,
  [TSC_DEADLINE_MSR]: setDeadline,
};

export function writeMsr(
  bench: KvmBench,
  vcpu: number,
  msr: number,
  { value, host }: { value: Halves; host: boolean },
): number {
  const write = msrs[msr];
  if (write !== undefined) return write(bench, vcpu, value, host);
  const { m } = bench;
  return done(m, vcpu, need('kvm_x2apic_msr_write')(m, vcpu, msr, value.low, value.high));
}

const wrmsr: Operate<KvmBench> = (bench, op) => {
  const value = halvesOf(op['value']);
  return wrote(writeMsr(bench, actingVcpu(op), numberOf(op['msr']), { value, host: false }));
};

/** KVM_SET_MSRS and KVM_SET_SREGS: an error of the ioctl, not #GP. */
const setByUser = (bench: KvmBench, op: JsonObject, msr: number, value: Halves): Answer => {
  const result = writeMsr(bench, actingVcpu(op), msr, { value, host: true });
  return { outcome: result === 0 ? 'completes' : 'ioctl-error' };
};

const rdmsr: Operate<KvmBench> = (bench, op) => {
  const { m } = bench;
  const vcpu = actingVcpu(op);
  const result = done(m, vcpu, need('kvm_x2apic_msr_read')(m, vcpu, numberOf(op['msr'])));
  return readResult(bench, vcpu, result);
};

/** Writes a register with the access method of the mode that the APIC is in. */
export function writeRegister(
  bench: KvmBench,
  vcpu: number,
  offset: number,
  value: Halves,
): number {
  if (modeOf(bench, vcpu) !== 'x2apic') return mmioWrite(bench, vcpu, offset, value);
  return writeMsr(bench, vcpu, X2APIC_MSR + (offset >>> 4), { value, host: false });
}

export function readRegisterOf(bench: KvmBench, vcpu: number, offset: number): Answer {
  const { m } = bench;
  const result =
    modeOf(bench, vcpu) === 'x2apic'
      ? done(m, vcpu, need('kvm_x2apic_msr_read')(m, vcpu, X2APIC_MSR + (offset >>> 4)))
      : mmioRead(bench, vcpu, offset);
  return readResult(bench, vcpu, result);
}

const writePair: Operate<KvmBench> = (bench, op) => {
  const vcpu = actingVcpu(op);
  mmioWrite(bench, vcpu, ICR2, halvesOf(op['icr2']));
  return wrote(mmioWrite(bench, vcpu, ICR, halvesOf(op['icr'])));
};

const LEVEL_ASSERT = 1 << 14;

/** An ICR write given by its fields. */
const icrWrite: Operate<KvmBench> = (bench, op) => {
  const vcpu = actingVcpu(op);
  const low =
    numberOf(op['vector']) |
    numberFor(deliveryModes, op['delivery_mode']) |
    numberFor(destModes, op['dest_mode']) |
    numberFor(shorthands, op['shorthand']) |
    (op['level'] === 'assert' ? LEVEL_ASSERT : 0);
  const dest = numberOf(op['dest'] ?? 0);
  if (modeOf(bench, vcpu) === 'x2apic') {
    return wrote(writeRegister(bench, vcpu, ICR, { low, high: dest }));
  }
  mmioWrite(bench, vcpu, ICR2, { low: (dest << 24) >>> 0, high: 0 });
  return wrote(mmioWrite(bench, vcpu, ICR, { low, high: 0 }));
};

const isLevel = (op: JsonObject): boolean => op['trigger'] === 'level';

/** A fixed interrupt reaches the APIC; the sender is none of the vCPUs unless the case says so. */
export const acceptInterrupt: Operate<KvmBench> = (bench, op) => {
  const { m, given } = bench;
  const vcpu = actingVcpu(op);
  const sender = given['sender_is_this_vcpus_own_thread'] === true ? vcpu : bench.user;
  const vector = numberOf(op['vector']);
  const fixed = numberFor(deliveryModes, 'fixed');
  done(m, sender, need('__apic_accept_irq')(m, vcpu, fixed, vector, true, isLevel(op)));
  return { tmr_bit: m.vcpu[vcpu]!.apic.tmr.has(vector) };
};

const deviceInterrupt: Operate<KvmBench> = (bench, op) => {
  const irq: KvmLapicIrq = {
    vector: numberOf(op['vector']),
    delivery_mode: numberFor(deliveryModes, op['delivery_mode']),
    dest_mode: numberFor(destModes, op['dest_mode']),
    shorthand: 0,
    level: true,
    trig_mode: isLevel(op),
    dest_id: numberOf(op['dest']),
    msi_redir_hint: op['redirection_hint'] === true,
  };
  const { m, user } = bench;
  return { return: done(m, user, need('kvm_irq_delivery_to_apic')(m, -1, irq)) };
};

/** Takes the deliverable vector, which is the one that the case names. */
export const acknowledge: Operate<KvmBench> = (bench, op) => {
  const { m } = bench;
  const vcpu = actingVcpu(op);
  const vector = done(m, vcpu, need('kvm_apic_has_interrupt')(m, vcpu));
  if (vector !== numberOf(op['vector'])) throw new Error(`the deliverable vector is ${vector}`);
  done(m, vcpu, need('kvm_apic_ack_interrupt')(m, vcpu, vector));
  return { vector };
};

const eoi: Operate<KvmBench> = ({ m }, op) => {
  const vcpu = actingVcpu(op);
  done(m, vcpu, need('kvm_lapic_set_eoi')(m, vcpu));
  return {};
};

const hypercallErrors: Readonly<Record<number, string>> = {
  [EINVAL]: '-KVM_EINVAL',
  [EOPNOTSUPP]: '-KVM_EOPNOTSUPP',
};

const pvSendIpi: Operate<KvmBench> = (bench, op) => {
  const { m } = bench;
  const bitmap = [halvesOf(op['a0']), halvesOf(op['a1'])] as const;
  const [min, icr] = [numberOf(op['a2']), numberOf(op['a3'])];
  const call = need('kvm_pv_send_ipi')(m, bitmap, min, icr, op['long_mode'] === true);
  const result = done(m, 0, call);
  return { return: hypercallErrors[result] ?? result };
};

const localInterrupt: Operate<KvmBench> = (bench, op) => {
  const { m } = bench;
  const vcpu = actingVcpu(op);
  const lvt = numberOf(op['register']);
  const result = done(m, vcpu, need('kvm_apic_local_deliver')(m, vcpu, lvt));
  return { return: result, lvt_after: readRaw(bench, vcpu, lvt) };
};

/** The CPU has stored the value; the exit says where. */
const apicWriteExit: Operate<KvmBench> = ({ m }, op) => {
  const vcpu = actingVcpu(op);
  const offset = numberOf(op['exit_qualification']) & 0xff0;
  done(m, vcpu, need('kvm_apic_write_nodecode')(m, vcpu, offset));
  return {};
};

const setLapic: Operate<KvmBench> = (bench, op) => {
  const result = restore(bench, actingVcpu(op), op['page'] as JsonObject);
  return { return: result === 0 ? 'ok' : errnoName(result) };
};

/** User space may pass any number; `bogus-17` is the state 17. */
const setMpState: Operate<KvmBench> = ({ m }, op) => {
  const vcpu = actingVcpu(op);
  const word = String(op['mp_state']);
  const bogus = /^bogus-(\d+)$/.exec(word);
  const state = bogus === null ? numberFor(mpStates, word) : Number(bogus[1]);
  const result = done(m, vcpu, need('kvm_arch_vcpu_ioctl_set_mpstate')(m, vcpu, state));
  return { return: result === 0 ? 'ok' : errnoName(result) };
};

const errnoName = (result: number): string => (result === EINVAL ? 'EINVAL' : `errno ${-result}`);

export const ops: Readonly<Record<string, Operate<KvmBench>>> = {
  none: () => undefined,
  'mmio.read': (bench, op) => {
    const vcpu = actingVcpu(op);
    const result = mmioRead(bench, vcpu, numberOf(op['offset']), numberOf(op['width']));
    return readResult(bench, vcpu, result);
  },
  'mmio.write': (bench, op) => {
    const value = halvesOf(op['value']);
    const [offset, width] = [numberOf(op['offset']), numberOf(op['width'])];
    return wrote(mmioWrite(bench, actingVcpu(op), offset, value, width));
  },
  'mmio.write-pair': writePair,
  rdmsr,
  wrmsr,
  'icr.write': icrWrite,
  'reg.write': (bench, op) =>
    wrote(writeRegister(bench, actingVcpu(op), numberOf(op['reg']), halvesOf(op['value']))),
  'reg.read': (bench, op) => readRegisterOf(bench, actingVcpu(op), numberOf(op['reg'])),
  'mov-to-cr8': ({ m }, op) => {
    const vcpu = actingVcpu(op);
    done(m, vcpu, need('kvm_lapic_set_tpr')(m, vcpu, numberOf(op['value'])));
    return {};
  },
  KVM_SET_MSRS: (bench, op) => setByUser(bench, op, numberOf(op['msr']), halvesOf(op['value'])),
  KVM_SET_SREGS: (bench, op) => setByUser(bench, op, APIC_BASE_MSR, halvesOf(op['apic_base'])),
  KVM_SET_LAPIC: setLapic,
  KVM_SET_MP_STATE: setMpState,
  'accept-interrupt': acceptInterrupt,
  acknowledge,
  eoi,
  'device-interrupt': deviceInterrupt,
  'kvm_hypercall.SEND_IPI': pvSendIpi,
  'local-interrupt': localInterrupt,
  'vm-exit.APIC_WRITE': apicWriteExit,
  'merge-pir-into-irr': ({ m }) => {
    const result = done(m, 0, need('__kvm_apic_update_irr')(m, 0));
    return { max_irr: highestOf(result), irr_updated: isNewHighest(result) };
  },
  'sync-pir-to-irr': ({ m }) => ({
    return_max_irr: done(m, 0, need('vmx_sync_pir_to_irr')(m, 0)),
  }),
  'sync-to-vapic': (bench) => {
    const { m } = bench;
    useVapic(bench);
    done(m, 0, need('kvm_lapic_sync_to_vapic')(m, 0));
    return {};
  },
  'sync-from-vapic': ({ m }) => {
    done(m, 0, need('kvm_lapic_sync_from_vapic')(m, 0));
    return {};
  },
  'update-cr8-intercept': ({ m }) => {
    done(m, 0, need('update_cr8_intercept')(m, 0));
    return {};
  },
};
