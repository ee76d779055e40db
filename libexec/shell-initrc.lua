-- What start-up files of job shells see (flux-shell-initrc(5)), for any Lua from 5.1.
--
-- Run as `lua shell-initrc.lua FILE MARK`. Each line of standard input is a Lua expression, each line of standard output that
-- begins with MARK is JSON. The first line says what is known of the job; the answer to it is what the file wants: it has run
-- then, with all that it registers for `shell.init`, `shell.post-init`, and for each task `task.init` and `task.exec`. Each
-- further line is what has happened since: the answer is what those say who registered for that.

local rcfile, mark = arg[1], arg[2]
local function next_line()
    local line = io.read("*l")
    return line and assert((loadstring or load)("return " .. line))()
end
local facts = next_line()
local log, env_changes, tasks, plugins = {}, {}, {}, {}
local environment = facts.environment
local current_task, rcdir
local LEVELS = { error = 3, warning = 4, notice = 5, debug = 6 }
local DIED = {}

io.output(io.stderr)
function print(...)
    local words = {}
    for index = 1, select("#", ...) do words[index] = tostring((select(index, ...))) end
    io.stderr:write(table.concat(words, "\t"), "\n")
end

local function say(level, message)
    log[#log + 1] = { level = LEVELS[level], message = tostring(message) }
end

local function json(value)
    local kind = type(value)
    if kind == "number" then
        return value == math.floor(value) and string.format("%.0f", value) or string.format("%.17g", value)
    elseif kind == "boolean" then return tostring(value)
    elseif kind ~= "table" then
        return '"' .. tostring(value):gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
    end
    local parts = {}
    if #value > 0 or value == log then
        for _, each in ipairs(value) do parts[#parts + 1] = json(each) end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, each in pairs(value) do parts[#parts + 1] = json(tostring(key)) .. ":" .. json(each) end
    return "{" .. table.concat(parts, ",") .. "}"
end

-- Files ------------------------------------------------------------------------------------------------------------------

local function dirname(path) return path:match("^(.*)/[^/]*$") or "." end

local function glob(pattern)
    local quoted = pattern:gsub("[^%w_/%.%-%*%?%[%]]", "\\%0")
    local files, list = {}, assert(io.popen("for f in " .. quoted .. "; do test -e \"$f\" && printf '%s\\n' \"$f\"; done"))
    for line in list:lines() do files[#files + 1] = line end
    list:close()
    return files
end

local function run_file(path)
    local chunk, problem = loadfile(path)
    if chunk == nil then error(problem, 0) end
    local before = rcdir
    rcdir = dirname(path)
    chunk()
    rcdir = before
end

local function source_all(pattern, is_optional)
    local files = glob(pattern)
    if #files == 0 and not is_optional and not pattern:find("[%*%?%[]") then
        error("source " .. pattern .. ": No such file or directory", 3)
    end
    for _, path in ipairs(files) do run_file(path) end
end

function source(pattern) source_all(pattern, false) end
function source_if_exists(pattern) source_all(pattern, true) end

-- The shell --------------------------------------------------------------------------------------------------------------

local function setter(get_variables, changes_of)
    return function(name, value, overwrite)
        if overwrite == false and get_variables()[name] ~= nil then return true end
        get_variables()[name] = tostring(value)
        changes_of()[name] = tostring(value)
        return true
    end
end

local function unset_in(variables, changes, name)
    variables[name] = nil
    changes[name] = false
    return true
end

local function own_environment() return environment end
local function own_changes() return env_changes end

shell = setmetatable({
    info = facts.info,
    options = facts.info.options,
    get_rankinfo = function(rank) return facts.ranks[(rank or facts.info.rank) + 1] end,
    getenv = function(name)
        if name ~= nil then return environment[name] end
        local copy = {}
        for key, value in pairs(environment) do copy[key] = value end
        return copy
    end,
    setenv = setter(own_environment, own_changes),
    unsetenv = function(name) return unset_in(environment, env_changes, name) end,
    log = function(message) say("notice", message) end,
    debug = function(message) say("debug", message) end,
    log_error = function(message) say("error", message) end,
    die = function(message) error(setmetatable({ message = tostring(message) }, DIED)) end,
}, {
    __index = function(_, key)
        if key == "rankinfo" then return facts.ranks[facts.info.rank + 1] end
        if key == "rcpath" then return rcdir end
    end,
})

function shell.prepend_path(name, path)
    local before = environment[name]
    return shell.setenv(name, before and path .. ":" .. before or path)
end

function shell.env_strip(...)
    for _, pattern in ipairs({ ... }) do
        for name in pairs(shell.getenv()) do
            if name:find(pattern) then shell.unsetenv(name) end
        end
    end
end

function shell.getopt_with_version(name)
    local value = shell.options[name]
    if type(value) ~= "string" then return value end
    local plain, version = value:match("^(.-)@(.*)$")
    return plain or value, version
end

function shell.source_rcpath(pattern)
    source_if_exists(shell.rcpath .. "/lua.d/" .. pattern)
    for directory in (os.getenv("FLUX_SHELL_RC_PATH") or ""):gmatch("[^:]+") do
        source_if_exists(directory .. "/" .. pattern)
    end
end

function shell.source_rcpath_option(name)
    local value, version = shell.getopt_with_version(name)
    if value == nil then return end
    shell.source_rcpath(name .. "/" .. tostring(value) .. ".lua")
    if version ~= nil then shell.source_rcpath(name .. "/" .. value .. "@" .. version .. ".lua") end
end

coprocess = {
    define = function(spec)
        local name = assert(spec.name, "coprocess.define: a name is wanted")
        local chosen = shell.options[name]
        if chosen == nil or chosen == false or chosen == 0 then return end
        local helper = {}
        for key, value in pairs(spec) do helper[key] = value end
        for key, value in pairs(type(chosen) == "table" and chosen or {}) do helper[key] = value end
        helper.name = nil
        shell.options.coprocess = shell.options.coprocess or {}
        shell.options.coprocess[name] = helper
    end,
}

-- Tasks ------------------------------------------------------------------------------------------------------------------

local function task_changes() return current_task.changes end
local function task_environment() return current_task.environment end

task = setmetatable({}, {
    __index = function(_, key)
        if current_task == nil then error("attempt to access task outside of task context", 2) end
        if key == "info" then return current_task.info end
        if key == "getenv" then return function(name) return current_task.environment[name] end end
        if key == "setenv" then return setter(task_environment, task_changes) end
        if key == "unsetenv" then
            return function(name) return unset_in(current_task.environment, current_task.changes, name) end
        end
    end,
})

-- Plugins ----------------------------------------------------------------------------------------------------------------

local LATER_TOPICS = { "task.fork", "shell.start", "task.exit", "shell.tasks-complete", "shell.finish", "shell.exit" }

local function matches(pattern, topic)
    local translated = pattern:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
    return topic:match("^" .. translated .. "$") ~= nil
end

local function check_handlers(spec)
    for _, handler in ipairs(spec.handlers) do
        if type(handler.topic) ~= "string" then error("Missing or invalid 'topic' in handler entry", 3) end
        if type(handler.fn) ~= "function" then error("Missing or invalid 'fn' in handler entry", 3) end
    end
end

plugin = {
    searchpath = facts.searchpath,
    register = function(spec)
        if type(spec) ~= "table" or type(spec.handlers) ~= "table" then
            error("plugin.register: a table with 'handlers' is wanted", 2)
        end
        check_handlers(spec)
        -- The last of a name counts.
        for index, other in ipairs(plugins) do
            if spec.name ~= nil and other.name == spec.name then table.remove(plugins, index) break end
        end
        plugins[#plugins + 1] = spec
        return true
    end,
    load = function(spec)
        local file = type(spec) == "table" and spec.file or spec
        if type(file) ~= "string" then error("plugin.load: a file is wanted", 2) end
        local found = {}
        for directory in (file:sub(1, 1) == "/" and "/" or plugin.searchpath):gmatch("[^:]+") do
            for _, path in ipairs(glob(directory == "/" and file or directory .. "/" .. file)) do found[#found + 1] = path end
        end
        if #found > 0 then
            error("plugin.load: " .. found[1] .. ": shared objects for flux-core's shell cannot be loaded here", 2)
        elseif not file:find("[%*%?%[]") then
            error("plugin.load: " .. file .. ": File not found", 2)
        end
    end,
}

-- Returns false where one has failed, or has returned false.
local function call(topic)
    for _, each in ipairs(plugins) do
        for _, handler in ipairs(each.handlers) do
            if matches(handler.topic, topic) then
                local is_well, result = pcall(handler.fn, topic)
                if not is_well and getmetatable(result) == DIED then error(result, 0) end
                if not is_well then say("error", "lua plugin " .. tostring(each.name) .. ": " .. tostring(result)) end
                if not is_well or result == false then
                    say("error", "plugin '" .. tostring(each.name) .. "': " .. topic .. " failed")
                    return false
                end
            end
        end
    end
    return true
end

local function require_success(topic, complaint)
    if not call(topic) then error(setmetatable({ message = complaint }, DIED), 0) end
end

-- What is said where a task's process would be is for nobody: there is no shell that hears it.
local function run_task_exec()
    local before = log
    log = {}
    pcall(call, "task.exec")
    log = before
end

local function run_tasks()
    for _, info in ipairs(facts.tasks) do
        current_task = { info = info, changes = {}, environment = shell.getenv() }
        require_success("task.init", string.format("failed to initialize taskid=%d", info.rank))
        run_task_exec()
        tasks[tostring(info.rank)] = { environment = current_task.changes }
        current_task = nil
    end
end

local function wanted_topics()
    local wanted = {}
    for _, topic in ipairs(LATER_TOPICS) do
        for _, each in ipairs(plugins) do
            for _, handler in ipairs(each.handlers) do
                if matches(handler.topic, topic) then wanted[topic] = true end
            end
        end
    end
    return wanted
end

local function answer(value)
    io.stdout:write("\n", mark, json(value), "\n")
    io.stdout:flush()
    log = {}
end

local function refusal_of(is_well, problem)
    if is_well then return false end
    return getmetatable(problem) == DIED and problem.message or "loading rc file " .. rcfile .. ": " .. tostring(problem)
end

local refusal = refusal_of(pcall(function()
    run_file(rcfile)
    require_success("shell.init", "shell_init")
    require_success("shell.post-init", "shell_post_init")
    run_tasks()
end))
answer({
    options = shell.options, environment = env_changes, tasks = tasks, log = log, refusal = refusal, topics = wanted_topics(),
})

for event in next_line do
    current_task = event.task and { info = event.task, changes = {}, environment = shell.getenv() }
    local is_well, result = pcall(call, event.topic)
    answer({ log = log, failed = is_well and not result, refusal = refusal_of(is_well, result) })
end
