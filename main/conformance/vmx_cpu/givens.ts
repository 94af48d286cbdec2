// Lays what a case gives on the VMCS, the virtual-APIC page, the descriptor and the guest.

import { APIC_PROCPRI } from '#sim/state/apicdef.ts';
import { activityState } from '#sim/state/vmcs.ts';
import { type Give, isObject, type Json } from '../adapter.ts';
import { addressOf, type CpuBench, layWords } from './bench.ts';
import { instructionOf } from './instructions.ts';
import { controls } from './words.ts';

type Lay = Give<CpuBench>;

const listOf = (value: Json): readonly Json[] => {
  if (!Array.isArray(value)) throw new Error(`${JSON.stringify(value)} is no list`);
  return value;
};

const layControls: Lay = ({ vcpu }, value) => {
  for (const name of listOf(value)) {
    const control = Object.hasOwn(controls, String(name)) ? controls[String(name)] : undefined;
    if (control === undefined) throw new Error(`no adapter knows control "${name}"`);
    vcpu.vmcs01[control.field].set(control.bit);
  }
};

const layEoiExitBitmap: Lay = ({ vcpu: { vmcs01 } }, value) => {
  const all = Array.from({ length: 256 }, (_, vector) => vector);
  const { eoi_exit_bitmap0, eoi_exit_bitmap1, eoi_exit_bitmap2, eoi_exit_bitmap3 } = vmcs01;
  const words = [eoi_exit_bitmap0, eoi_exit_bitmap1, eoi_exit_bitmap2, eoi_exit_bitmap3];
  for (const vector of value === 'all' ? all : listOf(value)) {
    words[Number(vector) >>> 6]!.set(Number(vector) & 63);
  }
};

const layPid: Lay = ({ vcpu: { pi_desc } }, value) => {
  if (!isObject(value)) throw new Error('pid is no record');
  for (const [key, part] of Object.entries(value)) {
    if (key === 'pir') for (const vector of listOf(part)) pi_desc.pir.set(Number(vector));
    else if (key === 'on') pi_desc.on = part === true;
    else if (key === 'sn') pi_desc.sn = part === true;
    else throw new Error(`no adapter knows given "pid.${key}"`);
  }
};

/** The cases name bitmaps that let all x2APIC MSRs through; the others are not in the model. */
const layMsrBitmap: Lay = ({ vcpu: { msr_bitmap } }, value) => {
  if (value !== 'x2apic-pass-through' && value !== 'pass-through') {
    throw new Error(`no adapter knows msr_bitmap "${value}"`);
  }
  msr_bitmap.x2apic_read.clearAll();
  msr_bitmap.x2apic_write.clearAll();
};

const activities: Readonly<Record<string, number>> = {
  active: activityState.ACTIVE,
  hlt: activityState.HLT,
};

const layActivity: Lay = ({ vcpu }, value) => {
  const state = activities[String(value)];
  if (state === undefined) throw new Error(`no adapter knows activity "${value}"`);
  vcpu.vmcs01.guest_activity_state = state;
};

const layHandler: Lay = (bench, value) => {
  bench.handler = listOf(value).map((op) => {
    if (!isObject(op)) throw new Error(`${JSON.stringify(op)} is no operation`);
    return instructionOf(op);
  });
};

const interruptGate = 'interrupt (IF=0 while it runs)';

const layGate: Lay = (_, value) => {
  if (value !== interruptGate) throw new Error(`no adapter knows handler_gate "${value}"`);
};

export const givens: Readonly<Record<string, Lay>> = {
  controls: layControls,
  vapic: (bench, value) => layWords(bench, bench.vapic, value),
  apic_access_page: (bench, value) => layWords(bench, bench.accessPage, value),
  rvi: ({ vcpu: { vmcs01 } }, value) => {
    vmcs01.guest_intr_status = (vmcs01.guest_intr_status & 0xff00) | Number(value);
  },
  svi: ({ vcpu: { vmcs01 } }, value) => {
    vmcs01.guest_intr_status = (vmcs01.guest_intr_status & 0xff) | (Number(value) << 8);
  },
  vppr: (bench, value) => layWords(bench, bench.vapic, { [APIC_PROCPRI]: value }),
  eoi_exit_bitmap: layEoiExitBitmap,
  tpr_threshold: ({ vcpu }, value) => {
    vcpu.vmcs01.tpr_threshold = Number(value);
  },
  maxphyaddr: ({ m, vcpu }, value) => {
    m.cpu[vcpu.cpu]!.maxphyaddr = Number(value);
  },
  virtual_apic_addr: ({ vcpu }, value) => {
    vcpu.vmcs01.virtual_apic_page_addr = addressOf(value);
  },
  apic_access_addr: ({ vcpu }, value) => {
    vcpu.vmcs01.apic_access_addr = addressOf(value);
  },
  posted_intr_desc_addr: ({ vcpu }, value) => {
    vcpu.vmcs01.posted_intr_desc_addr = addressOf(value);
  },
  posted_intr_notification_vector: ({ vcpu }, value) => {
    vcpu.vmcs01.posted_intr_nv = Number(value);
  },
  pid: layPid,
  msr_bitmap: layMsrBitmap,
  rflags_if: ({ vcpu }, value) => {
    vcpu.guest.rflags_if = value === true;
  },
  activity: layActivity,
  handler: layHandler,
  handler_gate: layGate,
  during_event_delivery: (bench, value) => {
    bench.eventDelivery = value === true;
  },
};
