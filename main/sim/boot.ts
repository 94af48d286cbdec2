/** The boot image: the machine as a scenario finds it, and its actors at their first step. */

import { alloc_page } from './host/frames.ts';
import { hostInterrupts } from './host/irq.ts';
import { madvise_dontneed, migrate_page } from './host/mm.ts';
import { mapSpte } from './hw/ept.ts';
import { tlbFill } from './hw/tlb.ts';
import { skipLoops } from './hw/vm_entry.ts';
import { kvm_inhibit_apic_access_page } from './kvm/apic_access_page.ts';
import { INVALID_GFN } from './kvm/mmu_invalidate.ts';
import { kvm_mmu_notifier_ops } from './kvm/mmu_notifier.ts';
import { vcpu_run } from './kvm/x86.ts';
import {
  APIC_ACCESS_PAGE_PRIVATE_MEMSLOT,
  APIC_DEFAULT_PHYS_BASE,
  apicAccessGfn,
  eptpOf,
  hvaOfApicAccessPage,
  hvaOfGuestPage,
} from './state/addresses.ts';
import { firstFrame, pfn_to_hpa } from './state/machine.ts';
import { POSTED_INTR_VECTOR } from './state/pi_desc.ts';
import {
  type ActorConfig,
  APIC_ACCESS_PAGE,
  type Instruction,
  type MachineConfig,
  type Program,
} from './state/program.ts';
import { KVM_REQ } from './state/requests.ts';
import { mpState } from './state/vcpu.ts';
import { irqchipMode } from './state/vm.ts';
import { cpuControl, pinControl, secondaryControl } from './state/vmcs.ts';
import { Machine, type Steps, scenarioActor } from './steps.ts';

const LVT_MASKED = 0x1_0000;
const APIC_BASE_ENABLE = 1 << 11;
const APIC_BASE_BSP = 1 << 8;

/** Reset values of the register page. @kvm arch/x86/kvm/lapic.c: kvm_lapic_reset */
const resetLapic = (m: Machine, index: number): void => {
  const { apic } = m.vcpu[index]!;
  apic.id = index << 24;
  apic.nr_lvt_entries = 7;
  apic.lvr = 0x14 | ((apic.nr_lvt_entries - 1) << 16);
  apic.dfr = 0xffff_ffff;
  apic.spiv = 0xff;
  for (const lvt of ['lvtcmci', 'lvtt', 'lvtthmr', 'lvtpc', 'lvt0', 'lvt1', 'lvterr'] as const) {
    apic[lvt] = LVT_MASKED;
  }
  if (index === 0) apic.lvt0 = 0x700;
  apic.base_address = APIC_DEFAULT_PHYS_BASE;
  apic.apicv_active = m.vm.enable_apicv;
  apic.irr_pending = apic.apicv_active;
  apic.isr_count = apic.apicv_active ? 1 : 0;
  apic.highest_isr_cache = -1;
};

/** @kvm arch/x86/kvm/vmx/vmx.c: init_vmcs */
const resetVmcs = (m: Machine, index: number): void => {
  const { vmcs01, apic } = m.vcpu[index]!;
  vmcs01.virtual_processor_id = index + 1;
  vmcs01.posted_intr_nv = POSTED_INTR_VECTOR;
  vmcs01.virtual_apic_page_addr = pfn_to_hpa(firstFrame + index);
  const pin: number[] = [pinControl.EXT_INTR, pinControl.NMI, pinControl.VIRTUAL_NMIS];
  const secondary: number[] = [
    secondaryControl.VIRTUALIZE_APIC_ACCESSES,
    secondaryControl.EPT,
    secondaryControl.VPID,
  ];
  if (apic.apicv_active) {
    pin.push(pinControl.POSTED_INTR);
    secondary.push(secondaryControl.APIC_REGISTER_VIRT, secondaryControl.VIRTUAL_INTR_DELIVERY);
  }
  for (const bit of pin) vmcs01.pin_based_vm_exec_control.set(bit);
  for (const bit of secondary) vmcs01.secondary_vm_exec_control.set(bit);
  for (const bit of [
    cpuControl.HLT,
    cpuControl.TPR_SHADOW,
    cpuControl.MSR_BITMAPS,
    cpuControl.SECONDARY,
  ])
    vmcs01.cpu_based_vm_exec_control.set(bit);
};

const addSlot = (
  m: Machine,
  id: number,
  baseGfn: number,
  { pages, hva }: { pages: number; hva: number },
): void => {
  const slot = m.vm.memslot.find((s) => !s.used)!;
  slot.id = id;
  slot.base_gfn = baseGfn;
  slot.npages = pages;
  slot.userspace_addr = hva;
  slot.used = true;
};

/** A page of user space, not yet backed by a frame. */
const addPte = (m: Machine, hva: number): number => {
  const pte = m.pte.find((p) => !p.used)!;
  pte.hva = hva;
  pte.pfn = -1;
  pte.writable = true;
  pte.used = true;
  return pte.index;
};

const buildVm = (m: Machine): void => {
  const { vm, config } = m;
  vm.irqchip_mode = irqchipMode.KERNEL;
  vm.enable_apicv = config.enableApicv;
  if (!config.enableApicv) vm.apicv_inhibit_reasons.set(0);
  vm.flexpriority_enabled = true;
  vm.mmu_invalidate_range_start = INVALID_GFN;
  vm.mmu_invalidate_range_end = INVALID_GFN;
  for (const frame of m.frame) frame.has_struct_page = true;
  for (let i = 0; i < config.vcpus; i++) alloc_page(m);
  if (config.memoryPages > 0) {
    addSlot(m, 0, 0, { pages: config.memoryPages, hva: hvaOfGuestPage(0) });
    for (let gfn = 0; gfn < config.memoryPages; gfn++) addPte(m, hvaOfGuestPage(gfn));
  }
  addSlot(m, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, apicAccessGfn, {
    pages: 1,
    hva: hvaOfApicAccessPage,
  });
  vm.apic_access_memslot_enabled = true;
  const pte = m.pte[addPte(m, hvaOfApicAccessPage)]!;
  pte.pfn = alloc_page(m);
  pte.present = true;
};

const buildVcpu = (m: Machine, index: number): void => {
  const vcpu = m.vcpu[index]!;
  vcpu.vcpu_id = index;
  vcpu.cpu = index;
  vcpu.srcu_idx = -1;
  vcpu.mp_state = mpState.RUNNABLE;
  vcpu.apic_base = APIC_DEFAULT_PHYS_BASE + APIC_BASE_ENABLE + (index === 0 ? APIC_BASE_BSP : 0);
  vcpu.root_mmu.root = -1;
  vcpu.pi_desc.nv = POSTED_INTR_VECTOR;
  vcpu.pi_desc.ndst = index << 8;
  m.cpu[index]!.irqs_on = true;
  resetLapic(m, index);
  resetVmcs(m, index);
  for (const request of [KVM_REQ.APIC_PAGE_RELOAD, KVM_REQ.APICV_UPDATE]) {
    vcpu.requests.set(request);
    vcpu.spec.request[request]!.published = 1;
  }
};

/** The guest has run: the APIC-access page is in the VMCS, in the EPT and in the TLB. */
const settle = (m: Machine): void => {
  const pfn = m.pte.find((pte) => pte.used && pte.hva === hvaOfApicAccessPage)!.pfn;
  const [root] = m.ept;
  root!.used = true;
  root!.refcount = m.vcpu.length;
  // Without APICv KVM maps nothing there: every access is emulated.
  if (m.config.enableApicv) mapSpte(m, 0, apicAccessGfn, pfn);
  for (const vcpu of m.vcpu) {
    vcpu.requests.clearAll();
    for (const request of vcpu.spec.request) request.taken = request.published;
    vcpu.root_mmu.root = 0;
    vcpu.vmcs01.ept_pointer = eptpOf(0);
    vcpu.vmcs01.apic_access_addr = pfn_to_hpa(pfn);
    if (m.config.enableApicv) tlbFill(m, vcpu.index, apicAccessGfn, pfn);
  }
};

const hvaOfPage = (page: number): number =>
  page === APIC_ACCESS_PAGE ? hvaOfApicAccessPage : hvaOfGuestPage(page);

type Act = (m: Machine, operands: readonly number[]) => Steps<unknown>;

/** What the instructions of mm and user do; those of vCPUs are done by the CPU. */
const acts: Readonly<Record<string, Act>> = {
  migrate: (m, [page]) => migrate_page(m, hvaOfPage(page!)),
  'madvise-dontneed': (m, [page]) => madvise_dontneed(m, hvaOfPage(page!)),
  'inhibit-apic-access-page': (m) => kvm_inhibit_apic_access_page(m),
};

const performs = (
  instruction: Instruction | undefined,
): instruction is Extract<Instruction, { operands: readonly number[] }> =>
  instruction !== undefined && 'operands' in instruction;

const runProgram = scenarioActor(function* scenarioProgram(m: Machine, program: Program) {
  const actor = m.actor[m.current]!;
  for (;;) {
    yield m.step('next instruction of the scenario');
    const instruction = skipLoops(m, m.current, program);
    if (!performs(instruction)) return;
    yield* acts[instruction.op]!(m, instruction.operands);
    actor.pc++;
  }
});

const mainOf = (m: Machine, actor: ActorConfig): Steps<unknown> => {
  switch (actor.kind) {
    case 'vcpu':
      return vcpu_run(m, actor.index, actor.program);
    case 'irq':
      return hostInterrupts(m, actor.index);
    case 'mm':
    case 'user':
      return runProgram(m, actor.program);
  }
};

/** Builds the machine; actor i must be vCPU i's thread for each vCPU. Position 0 is its result. */
export const boot = (config: MachineConfig): Machine => {
  const m = new Machine(config);
  buildVm(m);
  for (let i = 0; i < config.vcpus; i++) buildVcpu(m, i);
  if (config.boot === 'settled') settle(m);
  m.notifiers.push(kvm_mmu_notifier_ops);
  for (const actor of config.actors) m.start(actor.name, mainOf(m, actor));
  m.arena.dropLog();
  return m;
};
