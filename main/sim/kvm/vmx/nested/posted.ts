/** Posted interrupts of L2 in software: what a notification left to do, and what wakes L2. */
import { readFrame, readPhysical, writePhysical } from '../../../hw/memory.ts';
import { ON, offsetOfControl } from '../../../hw/posted_interrupts.ts';
import { pinOn, rviOf, secondaryOn, setRvi } from '../../../hw/vmcs.ts';
import { APIC_PROCPRI } from '../../../state/apicdef.ts';
import { pfn_to_hpa } from '../../../state/machine.ts';
import { classOf } from '../../../state/priority.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { kvmExit } from '../../../state/vcpu.ts';
import { pinControl, secondaryControl } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { ENXIO } from '../../errno.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import { apic_clear_irr, apic_set_irr, kvm_apic_has_interrupt } from '../../lapic/priority.ts';
import { __vmx_interrupt_blocked } from '../blocked.ts';
import { __kvm_apic_update_irr, highestRequested, maxOf, moveWord } from '../posted_intr.ts';
import {
  nested_lock_pi_desc,
  nested_lock_vapic,
  nested_unlock_pi_desc,
  nested_unlock_vapic,
} from './l2_pages.ts';
import { nested_mark_vmcs12_pages_dirty } from './pages.ts';
import { nested_vmx_preemption_timer_pending } from './preemption_timer.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

const wordsOfPir = 8;

/** Host-physical address of the descriptor of L2 in its frame. */
const descriptorIn = (m: Machine, vcpu: number, pfn: number): number =>
  pfn_to_hpa(pfn) + m.vcpu[vcpu]!.nested.pi_desc_offset;

/** −1 for none. @kvm arch/x86/include/asm/posted_intr.h: pi_find_highest_vector */
const pi_find_highest_vector = (m: Machine, descriptor: number): number => {
  for (let word = wordsOfPir - 1; word >= 0; word--) {
    const posted = readPhysical(m, descriptor + 4 * word);
    if (posted !== 0) return word * 32 + 31 - Math.clz32(posted);
  }
  return -1;
};

/** What L1 gave L2 is no memory: user space learns of it. */
const memoryFailure = (m: Machine, vcpu: number): number => {
  m.vcpu[vcpu]!.exit_reason = kvmExit.INTERNAL_ERROR;
  return -ENXIO;
};

/**
 * From PIR to VIRR with the descriptor locked all the time, also where the virtual-APIC page has to
 * be found again. Gives the highest vector of VIRR; −ENXIO without a page.
 */
function* harvestLocked(m: Machine, vcpu: number, descriptor: number): Body<number> {
  const vapic: number = yield* nested_lock_vapic(m, vcpu);
  if (vapic < 0) return -ENXIO;
  const result: number = yield* __kvm_apic_update_irr(m, descriptor, pfn_to_hpa(vapic));
  yield* nested_unlock_vapic(m, vcpu);
  return maxOf(result);
}

/** The same word by word, so that never both pages are locked; they may move in between. */
function* harvestApart(m: Machine, vcpu: number): Body<number> {
  let highest = -1;
  for (let word = 0; word < wordsOfPir; word++) {
    const pid: number = yield* nested_lock_pi_desc(m, vcpu);
    if (pid < 0) return -ENXIO;
    yield m.step('take word {word} of PIR', word);
    const address = descriptorIn(m, vcpu, pid) + 4 * word;
    const posted = readPhysical(m, address);
    if (posted !== 0) writePhysical(m, address, 0);
    yield* nested_unlock_pi_desc(m, vcpu);
    if (posted === 0) continue;
    const vapic: number = yield* nested_lock_vapic(m, vcpu);
    if (vapic < 0) return -ENXIO;
    yield m.step('put {posted} into word {word} of IRR', posted, word);
    moveWord(m, pfn_to_hpa(vapic), word, posted);
    highest = highestRequested(m, pfn_to_hpa(vapic));
    yield* nested_unlock_vapic(m, vcpu);
  }
  return highest;
}

/** What was posted becomes requested, and RVI follows; 0, or −ENXIO. Unlocks the descriptor. */
function* harvest(m: Machine, vcpu: number, descriptor: number): Body<number> {
  const { vmcs02 } = m.vcpu[vcpu]!;
  const apart = m.on('gpc-unlock-before-refresh');
  if (apart) yield* nested_unlock_pi_desc(m, vcpu);
  const highest: number = apart
    ? yield* harvestApart(m, vcpu)
    : yield* harvestLocked(m, vcpu, descriptor);
  if (highest !== -ENXIO) {
    yield m.step('VMWRITE RVI of L2, if {vector} is higher', highest);
    if (highest > rviOf(vmcs02)) setRvi(vmcs02, highest);
  }
  if (!apart) yield* nested_unlock_pi_desc(m, vcpu);
  return highest === -ENXIO ? highest : 0;
}

/** Does what the CPU would have done with the notification. 0, or −ENXIO: a page is missing. */
export const vmx_complete_nested_posted_interrupt = kvm(
  file,
  function* vmx_complete_nested_posted_interrupt(m: Machine, vcpu: number) {
    const { nested, spec } = m.vcpu[vcpu]!;
    yield m.step('is a notification for L2 pending?');
    if (!nested.pi_pending) return 0;
    const pid: number = yield* nested_lock_pi_desc(m, vcpu);
    if (pid < 0) return memoryFailure(m, vcpu);
    const descriptor = descriptorIn(m, vcpu, pid);
    yield m.step('pi_pending = false');
    nested.pi_pending = false;
    spec.nested_notified = false;
    yield m.step('clear ON in the descriptor of L2');
    const control = readPhysical(m, descriptor + offsetOfControl);
    if ((control & ON) === 0) {
      yield* nested_unlock_pi_desc(m, vcpu);
      return 0;
    }
    writePhysical(m, descriptor + offsetOfControl, control & ~ON);
    spec.pi_desc_unlogged = true;
    yield m.step('the highest vector in PIR: 0 counts as none');
    if (pi_find_highest_vector(m, descriptor) > 0) {
      const error: number = yield* harvest(m, vcpu, descriptor);
      if (error < 0) return memoryFailure(m, vcpu);
      spec.vapic_unlogged = true;
    } else {
      yield* nested_unlock_pi_desc(m, vcpu);
    }
    yield* nested_mark_vmcs12_pages_dirty(m, vcpu);
    return 0;
  },
);

/**
 * L1 executes VMLAUNCH or VMRESUME with the notification vector of L2 pending: on a CPU the vector
 * would arrive in L2. @kvm nested.c: nested_vmx_run
 */
export function* morphAtEntry(m: Machine, vcpu: number): Body<void> {
  const { nested } = m.vcpu[vcpu]!;
  if (m.switch('nv-irq-morph') !== 'at-entry' || nested.posted_intr_nv === -1) return;
  const irq: number = yield* kvm_apic_has_interrupt(m, vcpu);
  if (irq !== nested.posted_intr_nv) return;
  yield* notePending(m, vcpu);
  yield* apic_clear_irr(m, vcpu, irq);
}

/** KVM looks into the descriptor of L2 before it enters L2. */
export function* notePending(m: Machine, vcpu: number): Body<void> {
  yield m.step('pi_pending = true');
  m.vcpu[vcpu]!.nested.pi_pending = true;
  m.vcpu[vcpu]!.spec.nested_notified = true;
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
}

/**
 * Bookkeeping of the checks: L2 ends with ON still set, so that the CPU has not processed the
 * notification. The next entry forgets it, and L1 has no interrupt.
 */
export const noteUntaken = (m: Machine, vcpu: number): void => {
  const { nested, vmcs02, spec } = m.vcpu[vcpu]!;
  if (!nested.pi_pending || m.on('nested-nv-redeliver')) return;
  if (!pinOn(vmcs02, pinControl.POSTED_INTR)) return;
  const control = readPhysical(m, vmcs02.posted_intr_desc_addr + offsetOfControl);
  if ((control & ON) !== 0) spec.notifications_lost++;
};

/** L2 has ended before its notification was processed: L1 gets it, as an interrupt. */
export function* redeliverNotification(m: Machine, vcpu: number): Body<void> {
  const { nested } = m.vcpu[vcpu]!;
  if (!nested.pi_pending || !m.on('nested-nv-redeliver')) return;
  yield m.step('pi_pending = false: L1 gets vector {vector}', nested.posted_intr_nv);
  nested.pi_pending = false;
  m.vcpu[vcpu]!.spec.nested_notified = false;
  yield* apic_set_irr(m, vcpu, nested.posted_intr_nv);
}

/** VPPR of L2, −1 without a virtual-APIC page. */
function* readVppr(m: Machine, vcpu: number): Body<number> {
  const vapic: number = yield* nested_lock_vapic(m, vcpu);
  if (vapic < 0) return -1;
  yield m.step('read VPPR of L2');
  const vppr = readFrame(m, vapic, APIC_PROCPRI);
  yield* nested_unlock_vapic(m, vcpu);
  return vppr;
}

/** The highest vector that is posted for L2 with ON set, −1 for none. */
function* highestPosted(m: Machine, vcpu: number): Body<number> {
  const pid: number = yield* nested_lock_pi_desc(m, vcpu);
  if (pid < 0) return -1;
  const descriptor = descriptorIn(m, vcpu, pid);
  yield m.step('is ON set in the descriptor of L2, and which vector is the highest?');
  const on = (readPhysical(m, descriptor + offsetOfControl) & ON) !== 0;
  const vector = on ? pi_find_highest_vector(m, descriptor) : -1;
  yield* nested_unlock_pi_desc(m, vcpu);
  return vector;
}

/**
 * Is there something for L2, or for L1 because of L2, that only KVM can see? With `forInjection`
 * interrupts do not count: the CPU delivers them.
 */
export const vmx_has_nested_events = kvm(
  file,
  function* vmx_has_nested_events(m: Machine, vcpu: number, forInjection: boolean) {
    const { nested, vmcs02 } = m.vcpu[vcpu]!;
    yield m.step('has the preemption timer of L2 run out; is an MTF exit owed?');
    if (nested_vmx_preemption_timer_pending(m, vcpu) || nested.mtf_pending) return true;
    if (forInjection) return false;
    const virtual = secondaryOn(nested.cached_vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY);
    if (!virtual || __vmx_interrupt_blocked(m, vcpu)) return false;
    const vppr: number = yield* readVppr(m, vcpu);
    if (vppr < 0) return false;
    if (classOf(rviOf(vmcs02)) > classOf(vppr)) return true;
    if (!m.on('nested-has-events') || !nested.pi_pending) return false;
    const posted: number = yield* highestPosted(m, vcpu);
    return posted > 0 && classOf(posted) > classOf(vppr);
  },
);
