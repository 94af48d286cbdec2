/** What the instructions of actors do that are no vCPUs; those of vCPUs are done by the CPU. */

import {
  ioctlGetLapic,
  ioctlSetLapic,
  ioctlSetMpState,
  ioctlSetVapicAddr,
  programIoapic,
} from './acts/ioctls.ts';
import { postInterrupt } from './acts/iommu.ts';
import { injectUcna, ioctlReportTpr, verifyLapic } from './acts/lapic_ioctls.ts';
import { editNestedState, ioctlGetNestedState, ioctlSetNestedState } from './acts/nested_state.ts';
import { saveAndRestore } from './acts/save_restore.ts';
import { setUserLine } from './acts/user_ioapic.ts';
import {
  ioctlMoveMemslot,
  ioctlSetGuestDebug,
  ioctlSetLapicWords,
  ioctlSetMemoryRegion,
  ioctlSetSregs,
} from './acts/user_ioctls.ts';
import { ioctlInterrupt, setPicOutput } from './acts/user_space.ts';
import { madvise_dontneed, migrate_page, oom_reap, vm_mmap, vm_munmap } from './host/mm.ts';
import { resched_curr, set_next_task } from './host/sched.ts';
import { kvm_inhibit_apic_access_page } from './kvm/apic_access_page.ts';
import { kvm_set_or_clear_apicv_inhibit } from './kvm/apicv.ts';
import { irqfd_wakeup } from './kvm/eventfd.ts';
import { kvm_ioapic_set_irq } from './kvm/ioapic.ts';
import { kvm_set_msi } from './kvm/irq_comm.ts';
import { kvm_set_irq_routing } from './kvm/irqchip.ts';
import { vmx_pi_start_assignment } from './kvm/vmx/pi_blocking.ts';
import { hvaOfApicAccessPage, hvaOfGuestPage } from './state/addresses.ts';
import { APIC_ACCESS_PAGE } from './state/program.ts';
import { irqchipMode } from './state/vm.ts';
import { type Machine, type Steps, scenarioActor } from './steps.ts';

type Act = (m: Machine, operands: readonly number[]) => Steps<unknown>;

const hvaOfPage = (page: number): number =>
  page === APIC_ACCESS_PAGE ? hvaOfApicAccessPage : hvaOfGuestPage(page);

const msiAddress = 0xfee0_0000;

/** The address of an MSI that goes to one vCPU by its APIC ID. */
const addressTo = (m: Machine, vcpu: number): number =>
  msiAddress + ((m.vcpu[vcpu]!.vcpu_id & 0xff) << 12);

const sendMsi = (m: Machine, address: number, data: number): Steps<unknown> =>
  kvm_set_msi(m, { address_lo: address, address_hi: 0, data });

/** The line of a device, into the IOAPIC in KVM or in user space. */
const setLine = (m: Machine, pin: number, level: number): Steps<unknown> =>
  m.vm.irqchip_mode === irqchipMode.KERNEL
    ? kvm_ioapic_set_irq(m, pin, level, true)
    : setUserLine(m, pin, level !== 0);

const tick = scenarioActor(function* tick(m: Machine, ns: number) {
  yield m.step('{ns} ns pass', ns);
  m.vm.now += ns;
});

export const acts: Readonly<Record<string, Act>> = {
  migrate: (m, [page]) => migrate_page(m, hvaOfPage(page!)),
  'madvise-dontneed': (m, [page]) => madvise_dontneed(m, hvaOfPage(page!)),
  munmap: (m, [page]) => vm_munmap(m, hvaOfPage(page!)),
  mmap: (m, [page]) => vm_mmap(m, hvaOfPage(page!)),
  'oom-reap': (m, [page]) => oom_reap(m, hvaOfPage(page!)),
  'inhibit-apic-access-page': (m) => kvm_inhibit_apic_access_page(m),
  'inhibit-apicv': (m, [reason]) => kvm_set_or_clear_apicv_inhibit(m, reason!, true),
  'uninhibit-apicv': (m, [reason]) => kvm_set_or_clear_apicv_inhibit(m, reason!, false),
  'assign-device': (m) => vmx_pi_start_assignment(m),
  redirect: (m, [pin, low, vcpu]) => programIoapic(m, pin!, low!, m.vcpu[vcpu!]!.vcpu_id << 24),
  route: (m, [gsi, address, data]) =>
    kvm_set_irq_routing(m, gsi!, { address_lo: address!, address_hi: 0, data: data! }),
  interrupt: (m, [vcpu, vector]) => ioctlInterrupt(m, vcpu!, vector!),
  'get-lapic': (m, [vcpu]) => ioctlGetLapic(m, vcpu!),
  'set-lapic': (m, [vcpu, vector]) => ioctlSetLapic(m, vcpu!, vector!),
  'verify-lapic': (m, [vcpu, offset, value]) => verifyLapic(m, vcpu!, offset!, value!),
  'report-tpr-access': (m, [vcpu, enabled]) => ioctlReportTpr(m, vcpu!, enabled === 1),
  'inject-ucna': (m, [vcpu]) => injectUcna(m, vcpu!),
  'set-lapic-registers': (m, [vcpu, ...words]) => ioctlSetLapicWords(m, vcpu!, words),
  'set-apic-base': (m, [vcpu, low, high]) => ioctlSetSregs(m, vcpu!, low!, high!),
  'set-guest-debug': (m, [vcpu, control]) => ioctlSetGuestDebug(m, vcpu!, control!),
  'set-memory-region': (m, [slot, gpa, size, page]) =>
    ioctlSetMemoryRegion(m, slot!, gpa!, size!, hvaOfPage(page!)),
  'delete-memslot': (m, [slot]) => ioctlSetMemoryRegion(m, slot!, 0, 0, 0),
  'move-memslot': (m, [slot, gpa]) => ioctlMoveMemslot(m, slot!, gpa!),
  'save-restore': (m, [vcpu]) => saveAndRestore(m, vcpu!),
  'set-mp-state': (m, [vcpu, state]) => ioctlSetMpState(m, vcpu!, state!),
  'get-nested-state': (m, [vcpu]) => ioctlGetNestedState(m, vcpu!),
  'edit-nested-state': (m, [vcpu, field, value]) => editNestedState(m, vcpu!, field!, value!),
  'set-nested-state': (m, [vcpu]) => ioctlSetNestedState(m, vcpu!),
  'set-vapic-addr': (m, [vcpu, gpa]) => ioctlSetVapicAddr(m, vcpu!, gpa!),
  preempt: (m, [vcpu]) => resched_curr(m, vcpu!),
  'run-on': (m, [vcpu, cpu]) => set_next_task(m, vcpu!, cpu!),
  msi: (m, [vector, vcpu]) => sendMsi(m, addressTo(m, vcpu!), vector!),
  'write-msi': (m, [address, data]) => sendMsi(m, address!, data!),
  raise: (m, [pin]) => setLine(m, pin!, 1),
  lower: (m, [pin]) => setLine(m, pin!, 0),
  irqfd: (m, [gsi]) => irqfd_wakeup(m, gsi!),
  'pic-raise': (m, [vector]) => setPicOutput(m, true, vector!),
  'pic-lower': (m) => setPicOutput(m, false, 0),
  post: (m, [vector, vcpu]) => postInterrupt(m, vcpu!, vector!),
  advance: (m, [ns]) => tick(m, ns!),
};
