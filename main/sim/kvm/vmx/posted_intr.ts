/** Posted interrupts: delivery, and harvesting what was posted. */

import { smp_send_notification } from '../../host/irq.ts';
import { readPhysical, writePhysical } from '../../hw/memory.ts';
import { pinOn, setRvi, setSvi } from '../../hw/vmcs.ts';
import { hpaOfPiDesc } from '../../state/addresses.ts';
import { APIC_IRR } from '../../state/apicdef.ts';
import { firstFrame, pfn_to_hpa } from '../../state/machine.ts';
import { POSTED_INTR_NESTED_VECTOR, POSTED_INTR_VECTOR } from '../../state/pi_desc.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { buffered } from '../../state/store_buffer.ts';
import { vcpuMode } from '../../state/vcpu.ts';
import { pinControl } from '../../state/vmcs.ts';
import { kvm, type Machine, type Steps } from '../../steps.ts';
import {
  kvm_make_request,
  kvm_vcpu_kick,
  kvm_vcpu_wake_up,
  noteDecided,
  noteVisible,
} from '../kvm_main.ts';
import { apic_find_highest_irr, apic_set_irr } from '../lapic/priority.ts';
import { vmcsOfL1Status, withVmcs01 } from './vmcs01.ts';

const file = 'arch/x86/kvm/vmx/vmx.c';

/** Notifies a vCPU that runs the guest, else wakes it. */
const kvm_vcpu_trigger_posted_interrupt = kvm(
  'arch/x86/kvm/vmx/common.h',
  function* kvm_vcpu_trigger_posted_interrupt(m: Machine, vcpu: number, vector: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('is the target IN_GUEST_MODE?');
    if (target.mode === vcpuMode.IN_GUEST_MODE) {
      // The vCPU that runs on this CPU harvests on its way in; an IPI to itself would be wasted.
      if (m.current === vcpu && m.on('kick-skip-running-self')) return;
      yield m.step('send vector {vector} to the CPU of the target', vector);
      noteDecided(m, vcpu);
      if (target.cpu >= 0) smp_send_notification(m, target.cpu, vector);
      return;
    }
    yield m.step('wake the vCPU if it is blocked');
    noteDecided(m, vcpu);
    target.stat.wakeups++;
    kvm_vcpu_wake_up(m, vcpu);
  },
);

/** The vector by which L1 notifies its L2, −1 for none. */
const notificationOfL2 = (m: Machine, vcpu: number): number => {
  const { nested, spec } = m.vcpu[vcpu]!;
  if (m.on('nested-pi-cached-nv')) return nested.posted_intr_nv;
  // Nothing keeps vmcs12 from being replaced or freed while another thread reads it.
  if (m.current !== vcpu) spec.vmcs12_foreign_reads++;
  const { cached_vmcs12: vmcs12 } = nested;
  return pinOn(vmcs12, pinControl.POSTED_INTR) ? vmcs12.posted_intr_nv : -1;
};

/** L2 with posted interrupts: tells it to look into L1's descriptor. 0 if that was it, else −1. */
const vmx_deliver_nested_posted_interrupt = kvm(
  file,
  function* vmx_deliver_nested_posted_interrupt(m: Machine, vcpu: number, vector: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('is L2 active?');
    if (!target.guest_mode) return -1;
    if (m.on('nested-pi-cached-nv')) yield m.step('read the notification vector: posted_intr_nv');
    else yield m.step('read the notification vector in vmcs12');
    if (notificationOfL2(m, vcpu) !== vector) return -1;
    yield m.step('pi_pending = true');
    if (m.on('nested-pi-mb')) target.nested.pi_pending = true;
    else m.storeLater(buffered.PI_PENDING, vcpu, 1);
    target.spec.nested_notified = true;
    // L2 has ended: the next one begins with pi_pending = false, and L1 has no interrupt.
    if (!target.guest_mode && !m.on('nested-nv-redeliver')) target.spec.notifications_lost++;
    yield m.step('make EVENT');
    // The bit is set by a locked instruction, which is a full barrier on x86: what 83c98007d9fb has
    // added is for the reader of the source. Without it the bit is set as the source allows it.
    if (m.on('nested-pi-mb')) kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    else m.storeLater(buffered.EVENT, vcpu, 1);
    if (m.on('nested-nv-redeliver')) {
      yield m.step('is that L2 still active?');
      if (!target.guest_mode || notificationOfL2(m, vcpu) !== vector) {
        const untaken = target.nested.pi_pending;
        if (untaken) target.nested.pi_pending = false;
        yield* kvm_vcpu_kick(m, vcpu);
        // What the exit of L2 found pending it has given to L1 itself.
        return untaken ? -1 : 0;
      }
    }
    yield* kvm_vcpu_trigger_posted_interrupt(m, vcpu, POSTED_INTR_NESTED_VECTOR);
    return 0;
  },
);

/** Posts a vector and notifies the vCPU if nobody has yet. */
export const __vmx_deliver_posted_interrupt = kvm(
  'arch/x86/kvm/vmx/common.h',
  function* __vmx_deliver_posted_interrupt(m: Machine, vcpu: number, vector: number) {
    const { pi_desc, spec } = m.vcpu[vcpu]!;
    if (!m.on('pir-before-on')) {
      yield m.step('set ON');
      m.drainStores();
      const wasOn = pi_desc.on;
      pi_desc.on = true;
      spec.notifying++;
      yield m.step('set vector {vector} in PIR', vector);
      pi_desc.pir.set(vector);
      noteVisible(m, vcpu, vector);
      if (!wasOn) yield* kvm_vcpu_trigger_posted_interrupt(m, vcpu, POSTED_INTR_VECTOR);
      spec.notifying--;
      return;
    }
    yield m.step('set vector {vector} in PIR', vector);
    m.drainStores();
    const posted = pi_desc.pir.set(vector);
    noteVisible(m, vcpu, vector);
    if (posted) return;
    spec.posting++;
    if (!m.on('on-before-ipi')) {
      yield m.step('is ON set? if not, notify before it is');
      if (pi_desc.on) {
        spec.posting--;
        return;
      }
      yield* kvm_vcpu_trigger_posted_interrupt(m, vcpu, POSTED_INTR_VECTOR);
      yield m.step('set ON');
      pi_desc.on = true;
      spec.posting--;
      return;
    }
    yield m.step('set ON');
    spec.posting--;
    if (pi_desc.on) return;
    pi_desc.on = true;
    spec.notifying++;
    // ON is set before mode is read: vcpu_enter_guest() writes mode, then reads ON.
    yield* kvm_vcpu_trigger_posted_interrupt(m, vcpu, POSTED_INTR_VECTOR);
    spec.notifying--;
  },
);

/** 0 if the vector was posted, −1 if that is not possible. */
const vmx_deliver_posted_interrupt = kvm(
  file,
  function* vmx_deliver_posted_interrupt(m: Machine, vcpu: number, vector: number) {
    if ((yield* vmx_deliver_nested_posted_interrupt(m, vcpu, vector)) === 0) return 0;
    yield m.step('is apicv_active set?');
    if (!m.vcpu[vcpu]!.apic.apicv_active) return -1;
    yield* __vmx_deliver_posted_interrupt(m, vcpu, vector);
    return 0;
  },
);

/** Gives a vector to a vCPU: posted, or into IRR with a kick. Runs on the sender. */
export const vmx_deliver_interrupt = kvm(
  file,
  function* vmx_deliver_interrupt(m: Machine, vcpu: number, vector: number) {
    if ((yield* vmx_deliver_posted_interrupt(m, vcpu, vector)) === 0) return;
    const { spec } = m.vcpu[vcpu]!;
    spec.accepting++;
    yield* apic_set_irr(m, vcpu, vector);
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    yield* kvm_vcpu_kick(m, vcpu);
    spec.accepting--;
  },
);

const wordsOfVectors = 8;

/** Adds vectors to a word of IRR in a register page; gives those that were not there. */
export const moveWord = (m: Machine, regs: number, word: number, posted: number): number => {
  const address = regs + APIC_IRR + 16 * word;
  const old = readPhysical(m, address);
  writePhysical(m, address, old | posted);
  return (posted & ~old) >>> 0;
};

/** The highest vector of IRR in a register page, −1 for none. */
export const highestRequested = (m: Machine, regs: number): number => {
  for (let word = wordsOfVectors - 1; word >= 0; word--) {
    const requested = readPhysical(m, regs + APIC_IRR + 16 * word);
    if (requested !== 0) return word * 32 + 31 - Math.clz32(requested);
  }
  return -1;
};

const isPirEmpty = (m: Machine, descriptor: number): boolean => {
  for (let word = 0; word < wordsOfVectors; word++) {
    if (readPhysical(m, descriptor + 4 * word) !== 0) return false;
  }
  return true;
};

/**
 * Moves the PIR of a descriptor into the IRR of a register page, word by word with locked
 * operations. `maxOf` the result is the highest vector now requested, `updatedOf` it says whether
 * this call added that one.
 */
export const __kvm_apic_update_irr = kvm(
  'arch/x86/kvm/lapic.c',
  function* __kvm_apic_update_irr(m: Machine, descriptor: number, regs: number) {
    if (!m.on('empty-pir-scans-irr') && isPirEmpty(m, descriptor)) return packed(-1, false);
    let newest = -1;
    for (let word = 0; word < wordsOfVectors; word++) {
      const address = descriptor + 4 * word;
      if (readPhysical(m, address) === 0) continue;
      yield m.step('take word {word} of PIR', word);
      const posted = readPhysical(m, address);
      writePhysical(m, address, 0);
      yield m.step('put {posted} into word {word} of IRR', posted, word);
      const added = moveWord(m, regs, word, posted);
      if (added !== 0) newest = word * 32 + 31 - Math.clz32(added);
    }
    const max = highestRequested(m, regs);
    return packed(max, newest >= 0 && newest === max);
  },
);

/** The descriptor of a vCPU, and its register page. */
export const harvestOf = (m: Machine, vcpu: number): Steps<number> =>
  __kvm_apic_update_irr(m, hpaOfPiDesc(vcpu), pfn_to_hpa(firstFrame + vcpu));

/** A vector from −1 to 255 and a flag in one number: a generator returns without an object. */
const packed = (max: number, updated: boolean): number => (max + 1) * 2 + (updated ? 1 : 0);
export const maxOf = (result: number): number => (result >> 1) - 1;
export const updatedOf = (result: number): boolean => (result & 1) === 1;

/** The same for a vCPU's own APIC, with the hint. @kvm arch/x86/kvm/lapic.c: kvm_apic_update_irr */
export const kvm_apic_update_irr = kvm(
  'arch/x86/kvm/lapic.c',
  function* kvm_apic_update_irr(m: Machine, vcpu: number) {
    const { apic } = m.vcpu[vcpu]!;
    const result: number = yield* harvestOf(m, vcpu);
    if (!apic.apicv_active && updatedOf(result)) apic.irr_pending = true;
    return result;
  },
);

/** Writes RVI of the loaded VMCS; −1 is 0. @kvm arch/x86/kvm/vmx/vmx.c: vmx_set_rvi */
const vmx_set_rvi = (m: Machine, vcpu: number, vector: number): void =>
  setRvi(vmcsOfL1Status(m, vcpu), Math.max(0, vector));

/**
 * Writes SVI if it differs; −1 is 0. While L2 runs, `svi-l2-policy` says where it goes.
 * @kvm arch/x86/kvm/vmx/vmx.c: vmx_hwapic_isr_update
 */
export const vmx_hwapic_isr_update = (m: Machine, vcpu: number, max: number): void => {
  const { guest_mode, nested, apic } = m.vcpu[vcpu]!;
  // Nor can KVM see what is in service in a TD (vt_hwapic_isr_update).
  if (apic.guest_apic_protected) return;
  const policy = m.switch('svi-l2-policy');
  if (guest_mode && policy === 'defer') {
    nested.update_vmcs01_hwapic_isr = true;
    return;
  }
  const write = () => setSvi(vmcsOfL1Status(m, vcpu), Math.max(0, max));
  if (policy === 'on-demand') withVmcs01(m, vcpu, write);
  else write();
};

/**
 * Does KVM look into PIR? Before 37c4dbf337c5 it did so for a vCPU with APICv on only, wherever it
 * asks for the highest requested vector: what was posted without APICv waited.
 */
export const syncsPir = (m: Machine, vcpu: number): boolean =>
  m.vm.enable_apicv && (m.vcpu[vcpu]!.apic.apicv_active || m.on('sync-pir-when-inhibited'));

/**
 * Harvests posted interrupts into IRR, so that the next entry delivers them; gives the highest
 * requested vector, −1 for none.
 */
export const vmx_sync_pir_to_irr = kvm(
  file,
  function* vmx_sync_pir_to_irr(m: Machine, vcpu: number) {
    const { pi_desc, apic, guest_mode, spec } = m.vcpu[vcpu]!;
    // PIR of a TD is taken by the CPU inside it (vt_sync_pir_to_irr).
    if (apic.guest_apic_protected) return -1;
    yield m.step('is ON set?');
    let max: number;
    let got = false;
    if (pi_desc.on) {
      // What follows is a locked instruction: nothing stays in the store buffer behind it.
      m.drainStores();
      const late = !m.on('clear-on-before-harvest');
      if (!late) {
        yield m.step('clear ON');
        pi_desc.on = false;
      }
      spec.harvesting++;
      const result: number = yield* kvm_apic_update_irr(m, vcpu);
      max = maxOf(result);
      got = updatedOf(result);
      if (late) {
        yield m.step('clear ON');
        pi_desc.on = false;
      }
      spec.harvesting--;
    } else {
      max = apic_find_highest_irr(m, vcpu);
    }
    if ((!guest_mode || !m.on('rvi-l1-only')) && apic.apicv_active) vmx_set_rvi(m, vcpu, max);
    else if (got) {
      yield m.step('make EVENT');
      kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    }
    return max;
  },
);
